"""The policy of a record, without a database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from starlette_webhooks.delivery.deliveries import LeasedDelivery, Outcome
from starlette_webhooks.delivery.records import EndpointState, is_finished, next_state, proven_server

NOW = 1_700_000_000_000
MINUTE = 60_000
DAY = 24 * 60 * MINUTE
WORKS = EndpointState(None, None, 0, 0)
DELIVERY = LeasedDelivery(
    id=1,
    event=1,
    endpoint=1,
    number=1,
    step=0,
    trigger="scheduled",
    lease=NOW,
    event_id="msg_1",
    event_type="a.b",
    payload=b"{}",
    tenant="acme",
    endpoint_id="ep_1",
    url="https://example.com/",
    headers={},
    secrets=(),
)


def outcome(status: int = 500, at: int = NOW, **values: Any) -> Outcome:
    ok = 200 <= status < 300
    return Outcome(
        delivery=DELIVERY,
        attempt_id="atmpt_1",
        ok=ok,
        started=at,
        ended=at,
        duration_ms=1,
        status_code=status,
        **values,
    )


@pytest.mark.parametrize(("status", "next_due", "finished"), [(200, None, True), (500, NOW, False), (500, None, True)])
def test_a_delivery_ends_with_a_success_or_with_the_schedule(status: int, next_due: int | None, finished: bool) -> None:
    assert is_finished(outcome(status, next_due=next_due)) is finished


def test_the_first_failure_is_remembered_until_a_success() -> None:
    first = next_state(outcome(at=NOW), WORKS, disable_after=0)
    assert first == EndpointState(NOW, None, 0, 0)
    assert next_state(outcome(at=NOW + MINUTE), first, disable_after=0) == first
    assert next_state(outcome(200), first, disable_after=0) == WORKS


def test_an_attempt_that_changes_nothing_leaves_the_state_as_it_is() -> None:
    assert next_state(outcome(200), WORKS, disable_after=MINUTE) == WORKS


@pytest.mark.parametrize(
    ("status", "failing_for", "disable_after", "reason"),
    [
        (410, 0, 0, "gone"),
        (410, 0, MINUTE, "gone"),
        (500, MINUTE - 1, MINUTE, None),
        (500, MINUTE, MINUTE, "failing"),
        (500, 100 * MINUTE, 0, None),
    ],
)
def test_gone_disables_immediately_and_failing_after_some_time(
    status: int, failing_for: int, disable_after: int, reason: str | None
) -> None:
    before = EndpointState(NOW - failing_for, None, 0, 0)
    assert next_state(outcome(status), before, disable_after=disable_after).disabled_reason == reason


@pytest.mark.parametrize(
    ("disable_after", "failing_for", "warned"),
    [
        (5 * DAY, 4 * DAY - 1, False),
        (5 * DAY, 4 * DAY, True),
        (2 * MINUTE, MINUTE - 1, False),
        (2 * MINUTE, MINUTE, True),
        (0, 100 * DAY, False),
    ],
)
def test_a_warning_comes_a_day_ahead_or_after_half_of_a_shorter_period(
    disable_after: int, failing_for: int, warned: bool
) -> None:
    before = EndpointState(NOW - failing_for, None, 0, 0)
    after = next_state(outcome(), before, disable_after=disable_after)
    assert after.warned_at == (NOW if warned else None)
    again = next_state(outcome(at=NOW + 1), after, disable_after=5 * DAY)
    assert again.warned_at == after.warned_at or not warned, "once for each period of failure"


def test_an_existing_reason_is_kept() -> None:
    before = EndpointState(NOW, "manual", 0, 0)
    assert next_state(outcome(410), before, disable_after=1).disabled_reason == "manual"


def test_a_failure_that_was_stored_while_the_clock_was_ahead_counts_from_now() -> None:
    before = EndpointState(NOW + 60 * MINUTE, None, 0, 0)
    assert next_state(outcome(), before, disable_after=MINUTE).failing_since == NOW


def test_a_pause_never_ends_earlier_than_it_was_asked_for_unless_it_came_from_the_future() -> None:
    before = EndpointState(NOW, None, NOW, NOW + 10 * MINUTE)
    shorter = outcome(429, pause_until=NOW + MINUTE)
    assert next_state(shorter, before, disable_after=0).paused_until == NOW + 10 * MINUTE
    longer = next_state(outcome(429, pause_until=NOW + 20 * MINUTE), before, disable_after=0)
    assert (longer.paused_at, longer.paused_until) == (NOW, NOW + 20 * MINUTE)
    wrong = EndpointState(NOW, None, NOW + 60 * MINUTE, NOW + 90 * MINUTE)
    assert next_state(shorter, wrong, disable_after=0).paused_until == NOW + MINUTE


def test_the_first_success_proves_the_server_that_the_attempt_was_made_to() -> None:
    first = replace(DELIVERY, proven=False)
    assert proven_server(replace(outcome(200), delivery=first)) == "https://example.com"
    assert proven_server(replace(outcome(302), delivery=first)) is None
    assert proven_server(outcome(200)) is None, "it is known"
