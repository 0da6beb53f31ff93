"""Helpers of the Svix tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from starlette_webhooks.backends.svix import SvixBackend
from starlette_webhooks.event_types import EventType, EventTypes
from starlette_webhooks.events import Event
from starlette_webhooks.feed import Entry
from starlette_webhooks.payloads import new_event
from starlette_webhooks.settings import WebhooksSettings
from tests.clock import VirtualTime

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
    """Return the numbers that `make` gave to the events."""
    return [event.data["number"] for event in events]


def canonical(event: Event) -> Event:
    """Return the event with sorted keys in its payload, as Svix returns it."""
    payload = json.dumps(json.loads(event.payload), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return replace(event, payload=payload.encode())


class Ear:
    """A listener that collects what is published."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    @property
    def tenants(self) -> Collection[str]:
        return ()

    @property
    def events(self) -> list[Event]:
        """The events, in the order in which they were published."""
        return [entry.event for entry in self.entries]

    def publish(self, entries: Sequence[Entry]) -> None:
        self.entries += entries

    def restart(self) -> None:
        raise AssertionError("The log has lost nothing.")


@asynccontextmanager
async def running_fast(
    settings: WebhooksSettings, virtual: VirtualTime | None = None, **options: Any
) -> AsyncIterator[SvixBackend]:
    """Run a backend whose pauses take no time."""
    virtual = virtual or VirtualTime()
    async with running(settings, clock=virtual, sleep=virtual.sleep, monotonic=virtual.monotonic, **options) as backend:
        async with virtual.passing():
            yield backend
