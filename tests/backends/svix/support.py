"""Helpers of the Svix tests."""

from __future__ import annotations

import heapq
import itertools
import json
import math
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio

from starlette_webhooks.backends.svix import SvixBackend
from starlette_webhooks.event_types import EventType, EventTypes
from starlette_webhooks.events import Event
from starlette_webhooks.feed import Entry
from starlette_webhooks.payloads import new_event
from starlette_webhooks.settings import WebhooksSettings

TYPES = EventTypes(
    [
        EventType("invoice.paid", example={"amount": 1}),
        EventType("invoice.failed"),
        EventType("user.created"),
    ]
)


@asynccontextmanager
async def running(settings: WebhooksSettings, **options: Any) -> AsyncIterator[SvixBackend]:
    """A backend in its lifespan."""
    quick: dict[str, Any] = {"poll": (0.02, 0.05), "relay_poll": 0.02}
    backend = SvixBackend(settings, **{**quick, **options})
    async with backend.lifespan(TYPES):
        yield backend


def make(tenant: str, number: int = 0, event_type: str = "invoice.paid", **options: Any) -> Event:
    """An event as the emitter makes it for this backend."""
    return new_event(event_type, {"number": number}, tenant=tenant, mint_id=False, **options)


def numbers(events: Sequence[Event]) -> list[int]:
    """What `make` numbered them with."""
    return [event.data["number"] for event in events]


def canonical(event: Event) -> Event:
    """The event with the keys of its payload sorted, as Svix reads them back."""
    payload = json.dumps(json.loads(event.payload), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return replace(event, payload=payload.encode())


class Ear:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    @property
    def tenants(self) -> Collection[str]:
        return ()

    @property
    def events(self) -> list[Event]:
        """The events, in the order they were told."""
        return [entry.event for entry in self.entries]

    def publish(self, entries: Sequence[Entry]) -> None:
        self.entries += entries


@asynccontextmanager
async def running_fast(
    settings: WebhooksSettings, virtual: VirtualTime | None = None, **options: Any
) -> AsyncIterator[SvixBackend]:
    """A backend in its lifespan whose pauses take no time."""
    virtual = virtual or VirtualTime(time.time())
    async with running(
        settings, clock=virtual.clock, sleep=virtual.sleep, monotonic=virtual.clock, **options
    ) as backend:
        async with virtual.passing():
            yield backend


class VirtualTime:
    """A clock that jumps to whatever is awaited next, once the real world had a moment to go on."""

    def __init__(self, start: float) -> None:
        self.now = start
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._count = itertools.count()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        event = anyio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._count), event))
        await event.wait()

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Let time pass until the block ends."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.run, math.inf)
            yield
            tasks.cancel_scope.cancel()

    async def run(self, until: float, *, moment: float = 0.0005) -> None:
        """Let time pass."""
        while self.now < until:
            await anyio.sleep(moment)
            if not self._sleepers or self._sleepers[0][0] >= until:
                if until == math.inf:
                    continue
                self.now = until
                return
            due, _, event = heapq.heappop(self._sleepers)
            self.now = max(self.now, due)
            event.set()
