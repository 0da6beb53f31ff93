"""The pytest plugin: the fixtures `emitted_webhooks`, `webhook_receiver` and `webhook_clock`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from starlette_webhooks.testing import Clock, EmittedEvents, Receiver

__all__ = ["emitted_webhooks", "webhook_clock", "webhook_receiver"]

# Every test run with the package installed loads this module, so the fixtures import what they need.


@pytest.fixture
def emitted_webhooks() -> Iterator[EmittedEvents]:
    """The emitted events of the test's apps: `emitted_webhooks.assert_emitted("invoice.paid", data={"amount": 1})`."""
    from starlette_webhooks.testing import recording

    with recording() as events:
        yield events


@pytest.fixture
def webhook_clock() -> Clock:
    """A clock for `webhook_clock.control(webhooks)`. `webhook_clock.advance(5)` makes retries due."""
    from starlette_webhooks.testing import Clock

    return Clock()


@pytest.fixture
def webhook_receiver(webhook_clock: Clock) -> Iterator[Receiver]:
    """A real HTTP server that receives signed deliveries. Create an endpoint with `webhook_receiver.endpoint`."""
    from starlette_webhooks.testing import receiving

    with receiving(clock=webhook_clock) as receiver:
        yield receiver
