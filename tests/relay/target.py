"""A target for the relay that accepts, refuses or fails as the test wants."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio

from starlette_webhooks.events import Event
from starlette_webhooks.payloads import new_event
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.relay.forward import Accepted
from starlette_webhooks.relay.outbox import OutboxStore
from starlette_webhooks.relay.relay import Relay


class Target:
    """Records what it accepted. `on_event` may raise, `gate` blocks calls, and `pause` delays them by some seconds."""

    def __init__(self) -> None:
        self.taken: list[Event] = []
        self.calls: list[Event] = []
        self.running = 0
        self.most_at_once = 0
        self.on_event: Callable[[Event], None] = lambda event: None
        self.gate: anyio.Event | None = None
        self.pause = 0.0

    async def __call__(self, event: Event) -> Accepted:
        self.calls.append(event)
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await anyio.sleep(self.pause)
            self.on_event(event)
        finally:
            self.running -= 1
        self.taken.append(event)
        return Accepted(replace(event, id=f"target-{len(self.taken)}"))

    def numbers(self, tenant: str) -> list[int]:
        """Return the numbers of a tenant's events that it accepted, in order."""
        return [event.data["number"] for event in self.taken if event.tenant == tenant]


def make(tenant: str, number: int = 0) -> Event:
    """An event with a number."""
    return new_event("invoice.paid", {"number": number}, tenant=tenant, mint_id=False)


@asynccontextmanager
async def relaying(
    outbox: OutboxStore, target: Target, time: TimeSource | None = None, **options: Any
) -> AsyncGenerator[Relay]:
    """Run a relay from an outbox to a target until the block ends."""
    time = time or TimeSource()
    relay = Relay(
        outbox, target, outbox.lock(time), time, target="the target", **{"concurrency": 8, "poll": 0.02, **options}
    )

    def committed(fresh: bool) -> None:
        if fresh:
            relay.wake()

    async with outbox.lifespan(committed):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(relay.run)
            try:
                yield relay
            finally:
                tasks.cancel_scope.cancel()
