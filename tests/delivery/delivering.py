"""A database with a dispatcher on it, endpoints and events for it, and receivers that misbehave."""

from __future__ import annotations

import random
import socket
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.delivery.addresses import AddressGuard
from starlette_webhooks.delivery.client import DeliveryClient
from starlette_webhooks.delivery.dispatcher import DisabledEndpoint, Dispatcher
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.events import Event
from starlette_webhooks.payloads import new_event
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.stores.sqlite import endpoints, log
from starlette_webhooks.stores.sqlite.attempts import list_attempts
from starlette_webhooks.stores.sqlite.database import Database
from tests.eventually import eventually


class VirtualClock:
    """The time of day, which can be set forward."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


class StoppedClock(VirtualClock):
    """A time of day that goes on only where it is set forward. It begins in a minute, so all that is emitted is due."""

    def __init__(self) -> None:
        super().__init__()
        self._began = time.time() + 60

    def __call__(self) -> float:
        return self._began + self.offset


def add_endpoint(connection: sqlite3.Connection, url: str, tenant: str = "acme", **changes: Any) -> Endpoint:
    now = int(time.time() * 1000)
    return endpoints.create_endpoint(connection, tenant, EndpointChanges(url=url, **changes), now, 100_000)


def emit(connection: sqlite3.Connection, tenant: str = "acme", type: str = "invoice.paid", **options: Any) -> Event:
    event = new_event(type, {"amount": 9900}, tenant=tenant, **options)
    return log.Insertion([event])(connection).events[0]


@dataclass
class Engine:
    """What a process runs."""

    database: Database
    dispatcher: Dispatcher
    clock: VirtualClock
    disabled: list[DisabledEndpoint] = field(default_factory=list)

    async def endpoint(self, url: str, tenant: str = "acme", **changes: Any) -> Endpoint:
        return await self.database.write(partial(add_endpoint, url=url, tenant=tenant, **changes))

    async def emit(self, tenant: str = "acme", type: str = "invoice.paid", **options: Any) -> Event:
        event = await self.database.write(partial(emit, tenant=tenant, type=type, **options))
        self.dispatcher.kick()
        return event

    async def update(self, endpoint: Endpoint, **changes: Any) -> None:
        now = int(self.clock() * 1000)
        change = EndpointChanges(**changes)
        await self.database.write(
            partial(endpoints.update_endpoint, tenant=endpoint.tenant, identifier=endpoint.id, changes=change, now=now)
        )
        self.dispatcher.kick()

    async def attempts(self, tenant: str = "acme", **query: Any) -> list[Attempt]:
        """Oldest first."""
        page = await self.database.read(partial(list_attempts, tenant=tenant, query=AttemptQuery(limit=250, **query)))
        return list(reversed(page.items))

    async def attempted(self, count: int, **query: Any) -> list[Attempt]:
        """The attempts, once there are that many."""

        async def enough() -> list[Attempt] | None:
            found = await self.attempts(**query)
            return found if len(found) >= count else None

        return await eventually(enough)

    async def pending(self) -> int:
        count = await self.database.read(lambda c: c.execute("SELECT count(*) FROM delivery").fetchone()[0])
        return int(count)

    async def forward(self, seconds: float) -> None:
        self.clock.offset += seconds
        self.dispatcher.kick()


@asynccontextmanager
async def delivering(
    settings: WebhooksSettings, *, clock: VirtualClock | None = None, jitter: Callable[[], float] = random.random
) -> AsyncGenerator[Engine]:
    """Run a dispatcher until the block ends."""
    database = Database(settings.database)
    client = DeliveryClient(AddressGuard(settings.allow_networks), timeout=settings.attempt_timeout)
    disabled: list[DisabledEndpoint] = []

    def on_disabled(connection: sqlite3.Connection, endpoint: DisabledEndpoint) -> None:
        disabled.append(endpoint)

    clock = clock or VirtualClock()
    dispatcher = Dispatcher(database, client, settings, clock=clock, random=jitter, on_disabled=on_disabled)
    async with database.lifespan(), client, anyio.create_task_group() as tasks:
        tasks.start_soon(dispatcher.run)
        yield Engine(database, dispatcher, clock, disabled)
        tasks.cancel_scope.cancel()


@contextmanager
def blackhole() -> Generator[str]:
    """The URL of a receiver that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
