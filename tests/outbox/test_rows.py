"""Rows of the host's outbox that are not complete, and listeners that fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from starlette_webhooks.events import Event
from starlette_webhooks.outbox.rows import InvalidRow, from_row, read_row, to_row
from starlette_webhooks.outbox.writing import Written
from starlette_webhooks.payloads import new_event


@pytest.fixture
def event() -> Event:
    return new_event("invoice.paid", {"amount": 1}, tenant="acme")


@pytest.mark.parametrize("changes", [{"id": "1"}, {"tenant": ""}])
def test_a_row_that_other_code_wrote_is_refused(event: Event, changes: dict[str, Any]) -> None:
    row = replace(to_row(event), **changes)
    assert read_row(to_row(event)) == event
    with pytest.raises(InvalidRow, match="It is not complete"):
        from_row(row)
    assert read_row(row) is None


def test_a_listener_that_fails_does_not_fail_the_commit_of_the_host(
    event: Event, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(events: object) -> None:
        raise LookupError("of the listener")

    written = Written([event], fail)
    written.committed()
    assert "A listener of the host's commits failed." in caplog.text
