"""`SQLiteBackend`: the embedded engine behind the façade."""

from __future__ import annotations

import logging
import os
import random as random_module
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.delivery.addresses import AddressGuard, ForbiddenAddress, InvalidURL
from starlette_webhooks.delivery.client import DeliveryClient
from starlette_webhooks.delivery.dispatcher import DisabledEndpoint, Dispatcher
from starlette_webhooks.endpoints import Endpoint, EndpointChanges, EndpointStats
from starlette_webhooks.event_types import ENDPOINT_DISABLED, EventTypes, SyncResult
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import Conflict, InvalidBody
from starlette_webhooks.feed import Listener, StreamFilter
from starlette_webhooks.pagination import Page
from starlette_webhooks.payloads import new_event
from starlette_webhooks.signing import generate_secret
from starlette_webhooks.stores.sqlite import attempts, endpoints, log, queue, redelivery
from starlette_webhooks.stores.sqlite.database import Database, Write
from starlette_webhooks.stores.sqlite.tail import LogReplay, Tail
from starlette_webhooks.submissions import Submission

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.types import Clock

__all__ = ["SQLiteBackend"]

logger = logging.getLogger("starlette_webhooks")

T = TypeVar("T")

_WAL_RESET_FIXED = (3, 51, 3)
_PRUNE_EVERY = 3600.0
_PRUNE_PAUSE = 0.05


class SQLiteBackend(Backend):
    """Keeps events in a SQLite file and delivers from it, with no key and no server.

    Args:
        settings: `database`, `retention_days`, the retry schedule and the rest.
        clock: Seconds since the epoch; tests set it forward.
        random: A number from 0 to 1, for the jitter of retries.
    """

    name = "sqlite"

    def __init__(
        self,
        settings: WebhooksSettings,
        *,
        clock: Clock = time.time,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._random = random
        self._dispatcher: Dispatcher | None = None
        self.database = Database(
            settings.database_url.path, max_writes=settings.queue_events, max_bytes=settings.queue_bytes
        )
        self._running = False
        self._listener: Listener | None = None

    @asynccontextmanager
    async def lifespan(self, event_types: EventTypes) -> AsyncIterator[None]:
        """Open the database, deliver and prune until the block ends, then commit what waits."""
        settings = self.settings
        self._guard = AddressGuard(settings.allow_networks, allow_http=settings.allow_http)
        self._tail = Tail(self.database)
        if self._listener is not None:
            self._tail.listen(self._listener)
        self.database.on_commit.append(self._committed)
        self._kick: Callable[[Iterable[int]], None] | None = None
        try:
            async with (
                self.database.lifespan(),
                DeliveryClient(self._guard, timeout=settings.attempt_timeout) as client,
            ):
                tasks = [self._tail.run, self._prune_for_ever]
                if settings.deliver:
                    dispatcher = Dispatcher(
                        self.database,
                        client,
                        settings,
                        clock=self.clock,
                        random=self._random,
                        on_disabled=self._disabled,
                    )
                    self._kick, self._dispatcher = dispatcher.kick, dispatcher
                    tasks.append(dispatcher.run)
                async with running_beside(*tasks):
                    self._running = True
                    try:
                        yield
                    finally:
                        self._running = False
        finally:
            self.database.on_commit.clear()

    def _committed(self, writes: Sequence[Write[Any]]) -> None:
        if self._kick is not None:
            results = (write.result for write in writes)
            endpoints = dict.fromkeys(no for one in results if isinstance(one, log.Inserted) for no in one.endpoints)
            if endpoints:
                self._kick(endpoints)

    def _kick_now(self) -> None:
        if self._kick is not None:
            self._kick(())

    def wake(self) -> None:
        """Look for deliveries that are due, now. Thread-safe; for who sets the clock forward."""
        if self._running:
            self.database.call_soon(self._kick_now)

    @property
    def busy(self) -> int:
        """Attempts of this process that are under way, or not recorded yet."""
        return 0 if self._dispatcher is None else self._dispatcher.busy

    def _disabled(self, connection: sqlite3.Connection, endpoint: DisabledEndpoint) -> None:
        data = {"endpointId": endpoint.id, "url": endpoint.url, "reason": endpoint.reason}
        log.Insertion([new_event(ENDPOINT_DISABLED.name, data, tenant=endpoint.tenant)])(connection)

    async def _prune_for_ever(self) -> None:
        while True:
            try:
                await self.prune()
            except Exception:
                logger.exception("Old events could not be removed; trying again in an hour.")
            await anyio.sleep(_PRUNE_EVERY)

    async def prune(self) -> None:
        """Remove events older than `retention_days`, in small batches. Runs by itself every hour.

        Also what endpoints left whose removal was cut short.
        """
        for no in await self.database.read(queue.orphans):
            while await self.database.write(partial(endpoints.delete_leftovers, no=no)):
                await anyio.sleep(_PRUNE_PAUSE)
        cutoff = int((self.clock() - self.settings.retention_days * 86_400) * 1000)
        after: int | None = 0
        while after is not None:
            after = await self.database.write(partial(log.prune, after=after, cutoff=cutoff))
            if after is not None:
                await anyio.sleep(_PRUNE_PAUSE)

    def _now(self) -> int:
        return int(self.clock() * 1000)

    # Emitting

    def submit(self, events: Sequence[Event]) -> Submission:
        """See `Backend.submit`."""
        insertion = log.Insertion(events, due_in=int(self.settings.retry_schedule[0] * 1000))
        return self.database.store(insertion, sum([len(event.payload) for event in events]))

    # Reading

    async def list_events(self, tenant: str, query: EventQuery) -> Page[Event]:
        return await self.database.read(partial(log.list_events, tenant=tenant, query=query))

    async def get_event(self, tenant: str, id: str) -> Event | None:
        return await self.database.read(partial(log.get_event, tenant=tenant, identifier=id))

    async def list_attempts(self, tenant: str, query: AttemptQuery) -> Page[Attempt]:
        return await self.database.read(partial(attempts.list_attempts, tenant=tenant, query=query))

    # Streaming

    def listen(self, listener: Listener) -> None:
        self._listener = listener
        if self._running:
            self._tail.listen(listener)

    def watch(self, tenant: str) -> None:
        self._tail.watch(tenant)

    def unwatch(self, tenant: str) -> None:
        self._tail.unwatch(tenant)

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> LogReplay:
        return await self._tail.replay(tenant, filter, after)

    # Endpoints

    async def list_endpoints(self, tenant: str, *, limit: int, cursor: str | None) -> Page[Endpoint]:
        return await self.database.read(partial(endpoints.list_endpoints, tenant=tenant, limit=limit, cursor=cursor))

    async def get_endpoint(self, tenant: str, id: str) -> Endpoint | None:
        return await self.database.read(partial(endpoints.get_endpoint, tenant=tenant, identifier=id))

    async def create_endpoint(self, tenant: str, changes: EndpointChanges) -> Endpoint:
        await self._check_url(changes)
        most = self.settings.endpoints_per_tenant
        return await self.database.write(
            partial(endpoints.create_endpoint, tenant=tenant, changes=changes, now=self._now(), most=most)
        )

    async def update_endpoint(self, tenant: str, id: str, changes: EndpointChanges) -> Endpoint | None:
        await self._check_url(changes)
        endpoint = await self.database.write(
            partial(endpoints.update_endpoint, tenant=tenant, identifier=id, changes=changes, now=self._now())
        )
        await self._resume(tenant, id)
        return endpoint

    async def _resume(self, tenant: str, id: str) -> None:
        """Deliver to an endpoint at once, though it may be paused for its failures."""
        if self._dispatcher is not None:
            no = await self.database.read(partial(endpoints.number_of, tenant=tenant, identifier=id))
            if no is not None:
                self._dispatcher.resume(no)

    async def _check_url(self, changes: EndpointChanges) -> None:
        if not isinstance(changes.url, str):
            return
        try:
            await self._guard.check_host(changes.url)
        except (ForbiddenAddress, InvalidURL) as exc:
            raise InvalidBody(f"`url`: {exc}", code="invalid_url") from exc

    async def delete_endpoint(self, tenant: str, id: str) -> bool:
        no = await self.database.write(partial(endpoints.delete_endpoint, tenant=tenant, identifier=id))
        if no is None:
            return False
        while await self.database.write(partial(endpoints.delete_leftovers, no=no)):
            pass
        return True

    async def get_secret(self, tenant: str, id: str) -> str | None:
        return await self.database.read(partial(endpoints.get_secret, tenant=tenant, identifier=id))

    async def rotate_secret(self, tenant: str, id: str, key: str | None) -> str | None:
        secret = key or generate_secret()
        return await self.database.write(
            partial(endpoints.rotate_secret, tenant=tenant, identifier=id, key=secret, now=self._now())
        )

    async def endpoint_stats(self, tenant: str, id: str, since: datetime, until: datetime) -> EndpointStats | None:
        return await self.database.read(
            partial(attempts.stats, tenant=tenant, endpoint_id=id, since=since, until=until)
        )

    # Delivering again

    async def resend(self, tenant: str, event_id: str, endpoint_id: str) -> bool:
        done = await self.database.write(
            partial(redelivery.resend, tenant=tenant, event_id=event_id, endpoint_id=endpoint_id, now=self._now())
        )
        await self._resume(tenant, endpoint_id)
        return done

    async def recover(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None, *, missing: bool
    ) -> int | None:
        recovered, after = 0, ""
        while True:
            step = await self.database.write(
                partial(
                    redelivery.recover,
                    tenant=tenant,
                    endpoint_id=endpoint_id,
                    since=since,
                    until=until,
                    missing=missing,
                    after=after,
                    now=self._now(),
                )
            )
            if step is None:
                return None
            recovered += step.recovered
            await self._resume(tenant, endpoint_id)
            if step.after is None:
                return recovered
            after = step.after

    async def test_endpoint(self, tenant: str, endpoint_id: str, event: Event) -> Event | None:
        endpoint = await self.get_endpoint(tenant, endpoint_id)
        if endpoint is None:
            return None
        if endpoint.disabled:
            raise Conflict(
                'The endpoint is disabled. Enable it first: `PATCH` it with `{"disabled": false}`.',
                code="endpoint_disabled",
            )
        inserted = await self.database.write(log.Insertion([event], endpoint=endpoint_id))
        await self._resume(tenant, endpoint_id)
        return inserted.events[0]

    # The engine itself

    async def sync(self, event_types: EventTypes) -> SyncResult:
        """The catalog is this process's own: nothing is to be registered."""
        return SyncResult(unchanged=tuple(sorted(event_type.name for event_type in event_types)))

    async def erase(self, tenant: str) -> None:
        while (id := await self.database.read(partial(endpoints.any_endpoint, tenant=tenant))) is not None:
            await self.delete_endpoint(tenant, id)
        while await self.database.write(partial(log.erase_events, tenant=tenant)):
            pass

    async def secret_keys(self) -> Sequence[bytes]:
        """See `Backend.secret_keys`. Where the settings give none, one is made once and kept in the database."""
        if self.settings.secret_keys:
            return self.settings.secret_keys
        key = await self.database.write(partial(log.read_meta, name="secret_key", default=os.urandom(32)))
        return (key,)

    def health(self) -> dict[str, Any]:
        status = "ok" if self._running else "stopped"
        return {
            "engine": self.name,
            "status": status,
            "database": {
                "sqlite": sqlite3.sqlite_version,
                "walResetFixed": sqlite3.sqlite_version_info >= _WAL_RESET_FIXED,
            },
        }
