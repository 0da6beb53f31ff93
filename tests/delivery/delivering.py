"""A database with a dispatcher, endpoints and events, and receivers that misbehave."""

from __future__ import annotations

import random
import socket
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.delivery.addresses import AddressGuard
from starlette_webhooks.delivery.client import DeliveryClient
from starlette_webhooks.delivery.dispatcher import Dispatcher
from starlette_webhooks.delivery.networks import Networks
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.events import Event
from starlette_webhooks.payloads import new_event
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.stores.sqlite import endpoints
from starlette_webhooks.stores.sqlite.insertion import Insertion
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.clock import Clock
from tests.eventually import eventually


def stopped_clock() -> Clock:
    """A clock that only the test moves. It begins in a minute, so everything that is emitted is due."""
    return Clock(time.time() + 60, speed=0)


def add_endpoint(connection: sqlite3.Connection, url: str, tenant: str = "acme", **changes: Any) -> Endpoint:
    now = int(time.time() * 1000)
    return endpoints.create_endpoint(connection, tenant, EndpointChanges(url=url, **changes), now, 100_000)


def emit(connection: sqlite3.Connection, tenant: str = "acme", type: str = "invoice.paid", **options: Any) -> Event:
    event = new_event(type, {"amount": 9900}, tenant=tenant, **options)
    return Insertion([event])(connection).events[0]


@dataclass
class Deliverer:
    """The store and the dispatcher of a process."""

    store: SQLiteStore
    dispatcher: Dispatcher
    clock: Clock
    _settled: Iterator[int] = field(default_factory=count)

    async def endpoint(self, url: str, tenant: str = "acme", **changes: Any) -> Endpoint:
        return await self.store.create_endpoint(tenant, EndpointChanges(url=url, **changes), limit=100_000)

    async def emit(self, tenant: str = "acme", type: str = "invoice.paid", **options: Any) -> Event:
        event = await self.emit_elsewhere(tenant, type, **options)
        self.dispatcher.wake()
        return event

    async def emit_elsewhere(self, tenant: str = "acme", type: str = "invoice.paid", **options: Any) -> Event:
        """Emit as another process does, without waking the dispatcher."""
        (event,) = await self.store.submit([new_event(type, {"amount": 9900}, tenant=tenant, **options)]).wait()
        return event

    async def update(self, endpoint: Endpoint, **changes: Any) -> None:
        await self.store.update_endpoint(endpoint.tenant, endpoint.id, EndpointChanges(**changes))
        self.dispatcher.wake()

    async def attempts(self, tenant: str = "acme", **query: Any) -> list[Attempt]:
        """Oldest first."""
        page = await self.store.list_attempts(tenant, AttemptQuery(limit=250, **query))
        return list(reversed(page.items))

    async def attempted(self, count: int, **query: Any) -> list[Attempt]:
        """Return the attempts once there are this many."""

        async def enough() -> list[Attempt] | None:
            found = await self.attempts(**query)
            return found if len(found) >= count else None

        return await eventually(enough)

    async def pending(self) -> int:
        count = await self.store.database.read(lambda c: c.execute("SELECT count(*) FROM delivery").fetchone()[0])
        return int(count)

    async def disabled(self, tenant: str = "acme") -> dict[str, str | None]:
        """Return why endpoints are disabled, by id."""
        page = await self.store.list_endpoints(tenant, limit=250, cursor=None)
        return {endpoint.id: endpoint.disabled_reason for endpoint in page.items if endpoint.disabled}

    async def settle(self) -> None:
        """Return once the dispatcher has attempted all that is due, as it does before it attempts something new."""
        tenant = f"settling-{next(self._settled)}"
        endpoint = await self.endpoint("http://127.0.0.1:9/", tenant)
        await self.emit(tenant)
        await self.attempted(1, tenant=tenant, endpoint_id=endpoint.id)
        await eventually(lambda: not self.dispatcher.busy)

    async def forward(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.dispatcher.wake()


@asynccontextmanager
async def delivering(
    settings: WebhooksSettings,
    *,
    clock: Clock | None = None,
    jitter: Callable[[], float] = random.random,
    **options: Any,
) -> AsyncGenerator[Deliverer]:
    """Run a dispatcher until the block ends."""
    clock = clock or Clock()
    store = SQLiteStore(settings.database_url.path, clock=clock, lock_seconds=0.1 if "pause" in options else 5.0)
    client = DeliveryClient(AddressGuard(Networks(settings.allow_networks)), timeout=settings.attempt_timeout)
    dispatcher = Dispatcher(store, client, settings, random=jitter, monotonic=clock.monotonic, **options)
    async with store.lifespan(), client, anyio.create_task_group() as tasks:
        tasks.start_soon(dispatcher.run)
        yield Deliverer(store, dispatcher, clock)
        tasks.cancel_scope.cancel()


@contextmanager
def blackhole() -> Generator[str]:
    """Yield the URL of a receiver that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
