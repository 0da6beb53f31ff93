"""The pytest plugin: the fixtures `emitted_webhooks`, `webhook_receiver` and `webhook_clock`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from starlette_webhooks.testing import Clock, EmittedEvents, Receiver

__all__ = ["emitted_webhooks", "webhook_clock", "webhook_receiver"]

# Every test run with the package installed loads this module, so the fixtures import what they need by themselves.


@pytest.fixture
def emitted_webhooks() -> Iterator[EmittedEvents]:
    """What the test's apps emit: `emitted_webhooks.assert_emitted("invoice.paid", data={"amount": 9900})`."""
    from starlette_webhooks.testing import recording

    with recording() as events:
        yield events


@pytest.fixture
def webhook_clock() -> Clock:
    """A clock for `webhook_clock.control(webhooks)`, which makes retries due: `webhook_clock.advance(5)`."""
    from starlette_webhooks.testing import Clock

    return Clock()


@pytest.fixture
def webhook_receiver(webhook_clock: Clock) -> Iterator[Receiver]:
    """A real HTTP server that takes signed deliveries. Create an endpoint of `webhook_receiver.endpoint`."""
    from starlette_webhooks.testing import receiving

    with receiving(clock=webhook_clock) as receiver:
        yield receiver
