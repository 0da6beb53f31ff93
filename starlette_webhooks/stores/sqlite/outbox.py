"""The outbox in SQLite: events that are stored here until Svix has accepted them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio

from starlette_webhooks.database_url import MEMORY
from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import QueueFull
from starlette_webhooks.payloads import is_implied_event_id
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.relay.lock import RelayLock
from starlette_webhooks.relay.outbox import EntryState, OutboxCounts, OutboxEntry
from starlette_webhooks.stores.sqlite import meta
from starlette_webhooks.stores.sqlite.database import Database, Write
from starlette_webhooks.stores.sqlite.queries import load_queries
from starlette_webhooks.stores.writes import Submitted
from starlette_webhooks.types import Clock

__all__ = ["SQLiteOutbox"]

_QUERIES = load_queries("outbox.sql")
_INSERT = _QUERIES["insert"]
_ROW_SIZE = 200
_BATCH = 500
_BATCH_BYTES = 4_194_304
_MOST_COUNTED = 100_000
# Only the emitter mints such ids, so they are unlikely to repeat, and Svix remembers them for at least a day.
_KEEP_MINTED = 86_400.0
_QUEUE_PAUSE = 0.02
# A check further ahead than this was planned before the clock was set back.
_LATEST_CHECK = 600_000


@dataclass(frozen=True, slots=True)
class _Inserted:
    """The events of a transaction as stored, and how many of them are new."""

    events: Sequence[Event]
    fresh: int


def _seqs(ids: Collection[str]) -> str:
    # The ids of dead letters in other outboxes are no numbers.
    return json.dumps([int(id) for id in ids if id.isdecimal()])


def _event(values: Sequence[Any]) -> Event:
    _, tenant, event_id, event_type, timestamp, channels, payload, _, message_id = values[:9]
    return Event(
        message_id or "",
        tenant,
        event_type,
        payload,
        datetime.fromtimestamp(timestamp / 1000, UTC),
        event_id,
        tuple(json.loads(channels)) if channels else (),
    )


def _entry(values: Sequence[Any]) -> OutboxEntry:
    return OutboxEntry(values[0], _event(values), EntryState(values[7]), values[9] or "", values[10] or "")


def _values(event: Event) -> tuple[Any, ...]:
    channels = json.dumps(event.channels) if event.channels else None
    timestamp = round(event.timestamp.timestamp() * 1000)
    return (event.tenant, event.event_id, event.type, timestamp, channels, event.payload)


class _Insertion:
    """Writes events into the outbox. May run again."""

    __slots__ = ("events",)

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events

    def __call__(self, connection: sqlite3.Connection) -> _Inserted:
        stored: list[Event] = []
        fresh = 0
        for event in self.events:
            cursor = connection.execute(_INSERT, _values(event))
            if cursor.rowcount:
                fresh += 1
                # Svix assigns the id, so the one from the host is dropped.
                stored.append(replace(event, id="") if event.id else event)
            else:
                values = connection.execute(_QUERIES["find"], (event.tenant, event.event_id)).fetchone()
                stored.append(_event(values))
        return _Inserted(stored, fresh)


class SQLiteOutbox:
    """Events that Svix has not accepted yet and, for some time, those that it has. See `OutboxStore`.

    Args:
        retention: Seconds for which the `event_id` of an accepted event is remembered.
        options: See `Database`.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Clock,
        retention: float,
        max_events: int,
        max_bytes: int,
        lock_seconds: float = 5.0,
        **options: Any,
    ) -> None:
        self._path = path
        self._database = Database(
            path, max_writes=max_events, max_bytes=max_bytes, lock_seconds=lock_seconds, **options
        )
        self._clock = clock
        self._retention = retention

    def _now(self) -> int:
        return int(self._clock() * 1000)

    @property
    def shared(self) -> bool:
        """See `OutboxStore.shared`."""
        return self._path != MEMORY

    @property
    def problem(self) -> str | None:
        """See `OutboxStore.problem`."""
        return self._database.problem

    @asynccontextmanager
    async def lifespan(self, on_commit: Callable[[bool], None]) -> AsyncIterator[None]:
        """See `OutboxStore.lifespan`."""

        def committed(writes: Sequence[Write[Any]]) -> None:
            on_commit(any(isinstance(write.result, _Inserted) and write.result.fresh for write in writes))

        self._database.on_commit.append(committed)
        try:
            async with self._database.lifespan():
                yield
        finally:
            self._database.on_commit.remove(committed)

    def lock(self, time: TimeSource) -> RelayLock:
        """See `OutboxStore.lock`."""
        return RelayLock(self._path if self.shared else None, time)

    def submit(self, events: Sequence[Event]) -> Submitted:
        """See `OutboxStore.submit`."""
        size = sum(len(event.payload) + _ROW_SIZE for event in events)
        return self._database.store(_Insertion(events), size)

    async def committed(self) -> None:
        """See `OutboxStore.committed`."""
        await (await self._submit(lambda connection: None)).wait()

    # Looking up

    async def find(self, tenant: str, event_id: str) -> OutboxEntry | None:
        """See `OutboxStore.find`."""
        values = await self._database.read(lambda c: c.execute(_QUERIES["find"], (tenant, event_id)).fetchone())
        return None if values is None else _entry(values)

    async def waits(self, tenant: str | None = None) -> bool:
        """See `OutboxStore.waits`."""
        if tenant is None:
            return await self._database.read(lambda c: bool(c.execute(_QUERIES["anything_waits"]).fetchone()[0]))
        return await self._database.read(lambda c: bool(c.execute(_QUERIES["waits"], (tenant,)).fetchone()[0]))

    async def counts(self) -> OutboxCounts:
        """See `OutboxStore.counts`. Counted up to 100,000."""
        return await self._database.read(_counts)

    # Forwarding

    async def tenants(self, after: int | None) -> tuple[list[str], int]:
        """See `Outbox.tenants`."""
        return await self._database.read(partial(_tenants, after=after))

    async def next(self, tenant: str, limit: int) -> list[OutboxEntry]:
        """See `Outbox.next`."""
        return await self._database.read(partial(_next, tenant=tenant, limit=limit))

    async def accept(self, entry: OutboxEntry, event: Event, *, check_at: float | None) -> Write[None]:
        """See `Outbox.accept`."""
        _, _, event_type, timestamp, channels, payload = _values(event)
        values = {"seq": entry.seq, "timestamp": timestamp, **self._accepted(event, check_at)}
        first = None if payload == entry.event.payload else (event_type, channels, payload, entry.seq)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_QUERIES["accept"], values)
            if first is not None:
                connection.execute(_QUERIES["replace"], first)

        return await self._submit(write)

    async def record(self, event: Event, *, check_at: float | None) -> None:
        """See `OutboxStore.record`."""
        tenant, event_id, event_type, timestamp, channels, payload = _values(event)
        values = {
            "tenant": tenant,
            "event_id": event_id,
            "type": event_type,
            "timestamp": timestamp,
            "channels": channels,
            "payload": payload,
            **self._accepted(event, check_at),
        }
        await self._database.write(partial(_execute, name="insert_accepted", values=values))

    def _accepted(self, event: Event, check_at: float | None) -> dict[str, Any]:
        keep = min(_KEEP_MINTED, self._retention) if is_implied_event_id(event.event_id) else self._retention
        return {
            "message_id": event.id or None,
            "now": self._now(),
            "keep_until": self._now() + int(keep * 1000),
            "check_at": None if check_at is None else int(check_at * 1000),
        }

    async def dead_letter(self, entry: OutboxEntry, code: str, detail: str) -> Write[None]:
        """See `Outbox.dead_letter`."""
        return await self._submit(partial(_execute, name="dead_letter", values=(self._now(), code, detail, entry.seq)))

    async def _submit(self, fn: Callable[[sqlite3.Connection], None]) -> Write[None]:
        while True:
            try:
                return self._database.submit(fn)
            except QueueFull:
                # Only emitting hosts are refused.
                await anyio.sleep(_QUEUE_PAUSE)

    # For the operator

    async def dead_letters(self, *, tenant: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """See `DeadLetters.dead_letters`."""
        values = {"tenant": tenant, "limit": limit}
        rows = await self._database.read(lambda c: c.execute(_QUERIES["dead_letters"], values).fetchall())
        return [
            DeadLetter(str(row[0]), row[1], _event(row), row[9], row[10], datetime.fromtimestamp(row[11] / 1000, UTC))
            for row in rows
        ]

    async def redrive(self, tenant: str | None = None, *, ids: Collection[str] | None = None) -> int:
        """See `DeadLetters.redrive`."""
        values = {"tenant": tenant, "seqs": None if ids is None else _seqs(ids)}
        return await self._database.write(lambda c: c.execute(_QUERIES["redrive"], values).rowcount)

    async def discard(self, ids: Collection[str]) -> int:
        """See `DeadLetters.discard`."""
        return await self._database.write(lambda c: c.execute(_QUERIES["discard"], (_seqs(ids),)).rowcount)

    async def dead_letter_tenants(self, ids: Collection[str]) -> Mapping[str, str]:
        """See `DeadLetters.dead_letter_tenants`."""
        values = (_seqs(ids),)
        rows = await self._database.read(lambda c: c.execute(_QUERIES["dead_letter_tenants"], values).fetchall())
        return dict(rows)

    # Keeping order

    async def in_doubt(self) -> list[OutboxEntry]:
        """See `OutboxStore.in_doubt`."""
        now = self._now()
        values = {"now": now, "too_late": now + _LATEST_CHECK, "batch": _BATCH}
        rows = await self._database.read(lambda c: c.execute(_QUERIES["in_doubt"], values).fetchall())
        return [_entry(values) for values in rows]

    async def resolve(self, entry: OutboxEntry, check_again_at: float | None = None) -> None:
        """See `OutboxStore.resolve`."""
        values = (None if check_again_at is None else int(check_again_at * 1000), entry.seq)
        await self._database.write(partial(_execute, name="resolve", values=values))

    async def prune(self) -> bool:
        """See `OutboxStore.prune`."""
        now = self._now()
        return bool(await self._database.write(lambda c: c.execute(_QUERIES["prune"], (now, _BATCH)).rowcount))

    async def erase(self, tenant: str) -> None:
        """See `OutboxStore.erase`."""
        while await self._database.write(lambda c: c.execute(_QUERIES["erase"], (tenant, _BATCH)).rowcount):
            pass

    # What else the backend remembers

    async def owned_event_types(self) -> list[str]:
        """See `OutboxStore.owned_event_types`."""
        rows = await self._database.read(lambda c: c.execute(_QUERIES["owned_event_types"]).fetchall())
        return [name for (name,) in rows]

    async def own_event_types(self, names: Collection[str]) -> None:
        """See `OutboxStore.own_event_types`."""
        rows = [(name,) for name in names]
        await self._database.write(lambda c: c.executemany(_QUERIES["own_event_type"], rows).rowcount)

    async def disown_event_type(self, name: str) -> None:
        """See `OutboxStore.disown_event_type`."""
        await self._database.write(partial(_execute, name="disown_event_type", values=(name,)))

    async def read_meta(self, name: str, default: bytes) -> bytes:
        """See `Meta.read_meta`."""
        return await self._database.write(partial(meta.read_meta, name=name, default=default))

    async def write_meta(self, name: str, value: bytes) -> None:
        """See `Meta.write_meta`."""
        await self._database.write(partial(meta.write_meta, name=name, value=value))

    async def find_meta(self, names: Collection[str]) -> Mapping[str, bytes]:
        """See `Meta.find_meta`."""
        return await self._database.read(partial(meta.find_meta, names=names))

    async def drop_meta(self, start: str, end: str) -> None:
        """See `Meta.drop_meta`."""
        await self._database.write(partial(meta.drop_meta, start=start, end=end))


def _execute(connection: sqlite3.Connection, *, name: str, values: Any) -> None:
    connection.execute(_QUERIES[name], values)


def _next(connection: sqlite3.Connection, *, tenant: str, limit: int) -> list[OutboxEntry]:
    entries: list[OutboxEntry] = []
    size = 0
    for values in connection.execute(_QUERIES["next"], (tenant, limit)):
        entries.append(_entry(values))
        size += len(entries[-1].event.payload)
        if size > _BATCH_BYTES:  # pragma: no cover  Needs as many bytes.
            break
    return entries


def _tenants(connection: sqlite3.Connection, *, after: int | None) -> tuple[list[str], int]:
    row = connection.execute(_QUERIES["high_water"]).fetchone()
    high = 0 if row is None else int(row[0])
    if after is not None:
        return [tenant for (tenant,) in connection.execute(_QUERIES["tenants_between"], (after, high))], high
    # Jumps from tenant to tenant: `DISTINCT` would read possibly millions of rows.
    tenants: list[str] = []
    row = connection.execute(_QUERIES["next_tenant"], ("",)).fetchone()
    while row is not None:
        tenants.append(row[0])
        row = connection.execute(_QUERIES["next_tenant"], (row[0],)).fetchone()
    return tenants, high


def _counts(connection: sqlite3.Connection) -> OutboxCounts:
    (waiting,) = connection.execute(_QUERIES["count_waiting"], (_MOST_COUNTED,)).fetchone()
    (dead_lettered,) = connection.execute(_QUERIES["count_dead_letters"], (_MOST_COUNTED,)).fetchone()
    oldest = connection.execute(_QUERIES["oldest_waiting"]).fetchone()
    return OutboxCounts(waiting, None if oldest is None else oldest[0] / 1000, dead_lettered)
