"""Helpers of the backends' contract suite: events, endpoints, and a listener."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from starlette_webhooks import EventType
from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.feed import Entry
from starlette_webhooks.payloads import new_event
from tests.eventually import eventually

MakeBackend: TypeAlias = Callable[[], Backend]

TENANTS = ("acme", "globex", "initech")
TYPES = EventTypes([EventType("invoice.paid"), EventType("invoice.failed"), EventType("user.created")])
# An IP address, so that no name is looked up.
URL = "https://93.184.215.14/hooks"
KEY = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"


class Ear:
    """A listener that collects what is published for two tenants."""

    def __init__(self) -> None:
        self.tenants = {"acme", "globex"}
        self.entries: list[Entry] = []

    def publish(self, entries: Sequence[Entry]) -> None:
        self.entries += entries

    def restart(self) -> None:
        raise AssertionError("The log has lost nothing.")


@asynccontextmanager
async def running(make_backend: MakeBackend) -> AsyncGenerator[Backend]:
    """Run a backend until the block ends."""
    backend = make_backend()
    backend.listen(Ear())
    async with backend.lifespan(TYPES):
        yield backend


def make(backend: Backend, tenant: str = "acme", event_type: str = "invoice.paid", **options: Any) -> Event:
    """Make an event as the emitter does for this backend."""
    data = options.pop("data", {})
    return new_event(event_type, data, tenant=tenant, mint_id=backend.mints_ids, **options)


async def send(backend: Backend, tenant: str = "acme", event_type: str = "invoice.paid", **options: Any) -> Event:
    """Send an event."""
    (event,) = await backend.send([make(backend, tenant, event_type, **options)])
    return event


async def ids(backend: Backend, tenant: str = "acme", **query: Any) -> list[str]:
    """The ids of a page of events."""
    page = await backend.list_events(tenant, EventQuery(**query))
    return [event.id for event in page.items]


async def create(backend: Backend, tenant: str = "acme", **changes: Any) -> Endpoint:
    """Create an endpoint."""
    return await backend.create_endpoint(tenant, EndpointChanges(**{"url": URL, **changes}))


async def attempts(backend: Backend, tenant: str = "acme", **query: Any) -> Sequence[Attempt]:
    """A page of attempts."""
    return (await backend.list_attempts(tenant, AttemptQuery(**query))).items


async def attempted(backend: Backend, count: int, **query: Any) -> Sequence[Attempt]:
    """Return a page of attempts once there are this many."""

    async def enough() -> Sequence[Attempt] | None:
        found = await attempts(backend, **query)
        return found if len(found) >= count else None

    return await eventually(enough)
