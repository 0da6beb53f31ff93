"""What type checkers know of the tools for tests. Checked by `test_typing.py`, never run."""

from __future__ import annotations

from typing import Any, assert_type

from pydantic import BaseModel

from starlette_webhooks import Event, Webhooks
from starlette_webhooks.testing import Clock, Delivery, EmittedEvents, MemoryBackend, Receiver


class InvoicePaid(BaseModel):
    amount: int


async def use(
    emitted_webhooks: EmittedEvents, webhook_receiver: Receiver, webhook_clock: Clock, webhooks: Webhooks
) -> None:
    assert_type(emitted_webhooks.assert_emitted("invoice.paid", tenant=7, data={"amount": 1}, times=1), Event)
    assert_type(emitted_webhooks.assert_emitted(InvoicePaid), Event)
    assert_type(emitted_webhooks.assert_emitted(InvoicePaid(amount=1)), Event)
    emitted_webhooks.assert_not_emitted(InvoicePaid, data={"amount": 1})
    assert_type(emitted_webhooks[0], Event)
    for event in emitted_webhooks:
        assert_type(event, Event)
    assert_type(webhook_receiver.wait_for(2), list[Delivery])
    assert_type(await webhook_receiver.received(), list[Delivery])
    assert_type(webhook_receiver.endpoint, dict[str, Any])
    assert_type(webhook_clock(), float)
    webhook_clock.control(webhooks)
    assert_type(MemoryBackend(clock=webhook_clock).events, list[Event])


def wrong(emitted_webhooks: EmittedEvents, webhook_receiver: Receiver) -> None:
    emitted_webhooks.assert_emitted("invoice.paid", "acme")  # type: ignore[call-arg]
    emitted_webhooks.assert_emitted(7)  # type: ignore[arg-type]
    emitted_webhooks.assert_emitted("invoice.paid", data=[1])  # type: ignore[arg-type]
    webhook_receiver.fail("always")  # type: ignore[arg-type]
