"""`SQLiteStore`, which stores everything in one SQLite file or in memory."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import anyio

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.database_url import MEMORY
from starlette_webhooks.delivery.claims import ClaimRequest
from starlette_webhooks.delivery.deliveries import Claim, DisabledEndpoint, DuePage, LeasedDelivery, Outcome
from starlette_webhooks.delivery.pacing import UNPROVEN, Pace
from starlette_webhooks.delivery.store import DeliveryListener
from starlette_webhooks.endpoints import SECRET_OVERLAP, Endpoint, EndpointChanges, EndpointStats
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import NotRunning
from starlette_webhooks.feed import Entry, Listener, StreamFilter
from starlette_webhooks.health import DatabaseHealth
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.base import RecoverCursor, Recovered, RecoverWindow, Replacement, Store, StoredSecrets
from starlette_webhooks.stores.moments import to_ms
from starlette_webhooks.stores.sqlite import (
    attempts,
    deliveries,
    endpoints,
    log,
    meta,
    redelivery,
    retention,
    secrets,
    telling,
)
from starlette_webhooks.stores.sqlite.database import Database
from starlette_webhooks.stores.sqlite.deliveries import release, set_aside
from starlette_webhooks.stores.sqlite.insertion import Insertion
from starlette_webhooks.stores.sqlite.notifier import Notifier
from starlette_webhooks.stores.sqlite.operating import StoredOperations
from starlette_webhooks.stores.sqlite.recording import Recording
from starlette_webhooks.stores.tail import LogEnd, LogReplay, ReplayPage, ReplayStart, Tail
from starlette_webhooks.stores.writes import Submitted
from starlette_webhooks.types import Clock

__all__ = ["SQLiteStore"]

_WAL_RESET_FIXED = (3, 51, 3)
_POLL = 0.02
# The pause between batches of removals, which lets other writes proceed.
_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class _Running:
    """State that only exists within `lifespan`."""

    tail: Tail
    notifier: Notifier


class SQLiteStore(StoredOperations, Store):
    """A store in SQLite. See `Store`.

    Args:
        path: The file, or `:memory:`.
        max_writes, max_bytes: How much may wait for its commit. See `Database`.
        lock_seconds: How long to wait for another process that writes. See `Database`.
        clock: Seconds since the epoch.
        poll: Seconds between two checks for commits of other processes.
        options: See `Database`.
    """

    def __init__(
        self,
        path: str,
        *,
        max_writes: int = 10_000,
        max_bytes: int = 67_108_864,
        lock_seconds: float = 5.0,
        clock: Clock = time.time,
        poll: float = _POLL,
        **options: Any,
    ) -> None:
        self.clock = clock
        self.operator: str | None = None
        self.database = Database(path, max_writes=max_writes, max_bytes=max_bytes, lock_seconds=lock_seconds, **options)
        self._poll = poll
        self._listener: Listener | None = None
        self._running: _Running | None = None

    # Lifespan

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """See `Store.lifespan`."""
        tail = Tail(self, self._listener)
        notifier = Notifier(self.database, tail, self.now, poll=self._poll)
        tasks = [tail.run]
        if self.database.path != MEMORY:
            tasks.append(notifier.run)
        self.database.on_commit.append(notifier.committed)
        try:
            async with self.database.lifespan(), running_beside(*tasks):
                self._running = _Running(tail, notifier)
                try:
                    yield
                finally:
                    self._running = None
        finally:
            self.database.on_commit.remove(notifier.committed)

    def now(self) -> int:
        """See `DeliveryStore.now`."""
        return int(self.clock() * 1000)

    def on_deliveries(self, listener: DeliveryListener | None) -> None:
        """See `Store.on_deliveries`."""
        self._open.notifier.listen(listener)

    def call_soon(self, fn: Callable[[], None]) -> None:
        """See `Store.call_soon`."""
        self.database.call_soon(fn)

    @property
    def on_loop(self) -> bool:
        """See `Store.on_loop`."""
        return self.database.on_loop

    def health(self) -> DatabaseHealth:
        """See `Store.health`."""
        return {
            "sqlite": sqlite3.sqlite_version,
            "walResetFixed": sqlite3.sqlite_version_info >= _WAL_RESET_FIXED,
            "problem": self.database.problem,
        }

    @property
    def _open(self) -> _Running:
        if self._running is None:
            raise NotRunning
        return self._running

    # The log

    def submit(self, events: Sequence[Event], *, due_in: int = 0) -> Submitted:
        """See `EventLog.submit`."""
        return self.database.store(Insertion(events, due_in=due_in), sum([len(event.payload) for event in events]))

    async def insert_for(self, event: Event, tenant: str, endpoint_id: str) -> Event:
        """See `EventLog.insert_for`."""
        inserted = await self.database.write(Insertion([event], endpoint=endpoint_id))
        return inserted.events[0]

    async def list_events(self, tenant: str, query: EventQuery) -> Page[Event]:
        """See `EventLog.list_events`."""
        return await self.database.read(partial(log.list_events, tenant=tenant, query=query))

    async def get_event(self, tenant: str, event_id: str) -> Event | None:
        """See `EventLog.get_event`."""
        return await self.database.read(partial(log.get_event, tenant=tenant, identifier=event_id))

    # The feed

    def listen(self, listener: Listener) -> None:
        """See `Feed.listen`."""
        self._listener = listener
        if self._running is not None:
            self._running.tail.listen(listener)

    def watch(self, tenant: str) -> None:
        """See `Feed.watch`."""
        self._open.tail.watch(tenant)
        self._open.notifier.wake()

    def unwatch(self, tenant: str) -> None:
        """See `Feed.unwatch`."""
        self._open.tail.unwatch(tenant)

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> LogReplay:
        """See `Feed.replay`."""
        return await self._open.tail.replay(tenant, filter, after)

    async def position(self, tenant: str) -> str:
        """See `Feed.position`."""
        start = await self.start_replay(tenant, None)
        assert start.last_id is not None
        return start.last_id

    async def high_water(self) -> LogEnd:
        """See `LogReader.high_water`."""
        return LogEnd(await self.database.read(log.high_water))

    async def read_tail(self, after: LogEnd, limit: int) -> Sequence[Entry]:
        """See `LogReader.read_tail`. A file is not put back to an earlier state while it is in use."""
        return await self.database.read(partial(log.read_tail, after=after.position, limit=limit))

    async def start_replay(self, tenant: str, after: str | int | None) -> ReplayStart:
        """See `LogReader.start_replay`."""
        return await self.database.read(partial(log.start_replay, tenant=tenant, after=after))

    async def read_replay(self, tenant: str, filter: StreamFilter, after: int, until: int) -> ReplayPage:
        """See `LogReader.read_replay`."""
        return await self.database.read(
            partial(log.read_replay, tenant=tenant, filter=filter, after=after, until=until)
        )

    # Endpoints

    async def list_endpoints(self, tenant: str, *, limit: int, cursor: str | None) -> Page[Endpoint]:
        """See `EndpointStore.list_endpoints`."""
        return await self.database.read(partial(endpoints.list_endpoints, tenant=tenant, limit=limit, cursor=cursor))

    async def get_endpoint(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        """See `EndpointStore.get_endpoint`."""
        return await self.database.read(partial(endpoints.get_endpoint, tenant=tenant, identifier=endpoint_id))

    async def endpoint_number(self, tenant: str, endpoint_id: str) -> int | None:
        """See `EndpointStore.endpoint_number`."""
        return await self.database.read(partial(endpoints.number_of, tenant=tenant, identifier=endpoint_id))

    async def create_endpoint(self, tenant: str, changes: EndpointChanges, *, limit: int) -> Endpoint:
        """See `EndpointStore.create_endpoint`."""
        create = partial(telling.create_endpoint, tenant=tenant, changes=changes, now=self.now(), limit=limit)
        return (await self.database.write(partial(create, operator=self.operator))).result

    async def update_endpoint(self, tenant: str, endpoint_id: str, changes: EndpointChanges) -> Endpoint | None:
        """See `EndpointStore.update_endpoint`."""
        update = partial(telling.update_endpoint, tenant=tenant, identifier=endpoint_id, changes=changes)
        updated = await self.database.write(partial(update, now=self.now(), operator=self.operator))
        self.database.scrub_soon()
        return updated.result

    async def delete_endpoint(self, tenant: str, endpoint_id: str) -> bool:
        """See `EndpointStore.delete_endpoint`."""
        return await self._delete_endpoint(tenant, endpoint_id, operator=self.operator)

    async def _delete_endpoint(self, tenant: str, endpoint_id: str, *, operator: str | None) -> bool:
        delete = partial(telling.delete_endpoint, tenant=tenant, identifier=endpoint_id, operator=operator)
        no = (await self.database.write(delete)).result
        if no is None:
            return False
        self.database.scrub_soon()
        began = time.monotonic()
        while await self.database.write(partial(endpoints.delete_leftovers, no=no)):
            # Others commit as much as this does.
            await anyio.sleep(min(time.monotonic() - began, _PAUSE))
            began = time.monotonic()
        return True

    async def get_secret(self, tenant: str, endpoint_id: str) -> str | None:
        """See `EndpointStore.get_secret`."""
        return await self.database.read(partial(endpoints.get_secret, tenant=tenant, identifier=endpoint_id))

    async def rotate_secret(
        self, tenant: str, endpoint_id: str, key: str, *, overlap: int = SECRET_OVERLAP
    ) -> str | None:
        """See `EndpointStore.rotate_secret`."""
        now = self.now()
        call = partial(endpoints.rotate_secret, tenant=tenant, identifier=endpoint_id, key=key)
        rotated = await self.database.write(partial(call, expiry=now + overlap * 1000, now=now))
        self.database.scrub_soon()
        return rotated

    async def sealing_keys(self) -> set[str]:
        """See `SecretStore.sealing_keys`."""
        return await self.database.read(secrets.sealing_keys)

    async def stored_secrets(self, after: int, limit: int) -> Sequence[StoredSecrets]:
        """See `SecretStore.stored_secrets`."""
        return await self.database.read(partial(secrets.stored_secrets, after=after, limit=limit))

    async def replace_secrets(self, changes: Sequence[Replacement]) -> None:
        """See `SecretStore.replace_secrets`."""
        await self.database.write(partial(secrets.replace_secrets, changes=changes))
        self.database.scrub_soon()

    # Attempts

    async def list_attempts(self, tenant: str, query: AttemptQuery) -> Page[Attempt]:
        """See `AttemptStore.list_attempts`."""
        return await self.database.read(partial(attempts.list_attempts, tenant=tenant, query=query))

    async def endpoint_stats(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime
    ) -> EndpointStats | None:
        """See `AttemptStore.endpoint_stats`."""
        read = partial(attempts.stats, tenant=tenant, endpoint_id=endpoint_id, since=since, until=until)
        return await self.database.read(read)

    # Deliveries

    async def due(self, *, after: int, due_by: int, unproven: Pace | None = UNPROVEN) -> DuePage:
        """See `DeliveryStore.due`."""
        return await self.database.read(
            partial(deliveries.due, after=after, due_by=due_by, now=self.now(), unproven=unproven)
        )

    async def claim(self, request: ClaimRequest) -> Claim:
        """See `DeliveryStore.claim`."""
        return await self.database.write(partial(deliveries.claim, request=request))

    async def release(self, deliveries: Sequence[LeasedDelivery], *, due: int) -> None:
        """See `DeliveryStore.release`."""
        await self.database.write(partial(release, leased=deliveries, due=due, now=self.now()))

    async def record(self, outcome: Outcome, *, disable_after: int) -> DisabledEndpoint | None:
        """See `DeliveryStore.record`."""
        recording = Recording(outcome, disable_after=disable_after, operator=self.operator)
        recorded = await self.database.write(recording)
        return None if recorded is None else recorded.disabled

    async def set_aside(self, delivery: LeasedDelivery) -> None:
        """See `DeliveryStore.set_aside`."""
        await self.database.write(partial(set_aside, delivery=delivery))

    async def fix_times(self) -> int:
        """See `DeliveryStore.fix_times`."""
        moved, after = 0, 0
        while ids := await self.database.write(partial(deliveries.fix_times, after=after, now=self.now())):
            moved, after = moved + len(ids), ids[-1]
        return moved

    async def resend(self, tenant: str, event_id: str, endpoint_id: str) -> bool:
        """See `Redelivery.resend`."""
        resend = partial(redelivery.resend, tenant=tenant, event_id=event_id, endpoint_id=endpoint_id, now=self.now())
        return await self.database.write(resend) is not None

    async def recover(
        self, tenant: str, endpoint_id: str, window: RecoverWindow, cursor: RecoverCursor | None
    ) -> Recovered | None:
        """See `Redelivery.recover`."""
        return await self.database.write(
            partial(
                redelivery.recover,
                tenant=tenant,
                endpoint_id=endpoint_id,
                window=window,
                cursor=cursor,
                now=self.now(),
            )
        )

    # Maintenance

    async def read_meta(self, name: str, default: bytes) -> bytes:
        """See `Meta.read_meta`."""
        return await self.database.write(partial(meta.read_meta, name=name, default=default))

    async def write_meta(self, name: str, value: bytes) -> None:
        """See `Meta.write_meta`."""
        await self.database.write(partial(meta.write_meta, name=name, value=value))

    async def find_meta(self, names: Collection[str]) -> Mapping[str, bytes]:
        """See `Meta.find_meta`."""
        return await self.database.read(partial(meta.find_meta, names=names))

    async def drop_meta(self, start: str, end: str) -> None:
        """See `Meta.drop_meta`."""
        await self.database.write(partial(meta.drop_meta, start=start, end=end))

    async def prune(self, before: datetime) -> None:
        """See `Maintenance.prune`."""
        if await self.database.write(partial(secrets.drop_expired, now=self.now())):
            self.database.scrub_soon()
        for no in await self.database.read(deliveries.orphans):
            while await self.database.write(partial(endpoints.delete_leftovers, no=no)):
                await anyio.sleep(_PAUSE)
        after: int | None = 0
        prune = partial(retention.prune, before=to_ms(before), now=self.now())
        while after is not None:
            after = await self.database.write(partial(prune, after=after))
            if after is not None:
                await anyio.sleep(_PAUSE)

    async def erase(self, tenant: str) -> None:
        """See `Maintenance.erase`."""
        while (id := await self.database.read(partial(endpoints.any_endpoint, tenant=tenant))) is not None:
            # Without events: they would name the erased tenant.
            await self._delete_endpoint(tenant, id, operator=None)
        while await self.database.write(partial(retention.erase_events, tenant=tenant)):
            pass
