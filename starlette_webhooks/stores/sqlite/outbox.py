"""The outbox: events that are durable here and on their way to Svix."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from starlette_webhooks.backends.svix.mapping import is_minted
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import QueueFull
from starlette_webhooks.stores.sqlite.queries import load_queries, read_sql

if TYPE_CHECKING:
    from starlette_webhooks.stores.sqlite.database import Database, Write
    from starlette_webhooks.stores.sqlite.writes import Submitted
    from starlette_webhooks.types import Clock

__all__ = ["Counts", "Outbox", "Parked", "Row", "Taken"]

_QUERIES = load_queries("outbox.sql")
_INSERT = _QUERIES["insert"]
_ACCEPTED, _PARKED = 1, 2
_ROW_SIZE = 200
_BATCH = 500
_BATCH_BYTES = 4_194_304
_MOST_COUNTED = 100_000
# Nobody but us made such an id, so it hardly comes again; Svix knows it by then, for a day at least.
_KEEP_MINTED = 86_400.0
_QUEUE_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class Row:
    """An event in the outbox; `event.id` is Svix's id once Svix has accepted it."""

    seq: int
    event: Event
    state: int = 0
    code: str = ""
    detail: str = ""

    @property
    def accepted(self) -> bool:
        """Whether Svix has it."""
        return self.state == _ACCEPTED

    @property
    def parked(self) -> bool:
        """Whether Svix refused it for good."""
        return self.state == _PARKED


@dataclass(frozen=True, slots=True)
class Parked:
    """An event that Svix refused for good, and why, in Svix's words."""

    event: Event
    code: str
    detail: str
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class Taken:
    """What a transaction took: all events as stored, and how many of them are new."""

    events: Sequence[Event]
    fresh: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What lies in the outbox, counted up to 100,000."""

    waiting: int = 0
    oldest: float | None = None
    parked: int = 0


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


def _row(values: Sequence[Any]) -> Row:
    return Row(values[0], _event(values), values[7], values[9] or "", values[10] or "")


def _values(event: Event) -> tuple[Any, ...]:
    channels = json.dumps(event.channels) if event.channels else None
    timestamp = round(event.timestamp.timestamp() * 1000)
    return (event.tenant, event.event_id, event.type, timestamp, channels, event.payload)


class _Insertion:
    """Writes events into the outbox. May run again."""

    __slots__ = ("events",)

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events

    def __call__(self, connection: sqlite3.Connection) -> Taken:
        stored: list[Event] = []
        fresh = 0
        for event in self.events:
            cursor = connection.execute(_INSERT, _values(event))
            if cursor.rowcount:
                fresh += 1
                # Whatever the host minted: Svix gives the id.
                stored.append(replace(event, id="") if event.id else event)
            else:
                values = connection.execute(_QUERIES["find"], (event.tenant, event.event_id)).fetchone()
                stored.append(_event(values))
        return Taken(stored, fresh)


class Outbox:
    """Events that Svix has not yet taken, and for a while those that it has.

    Args:
        retention: Seconds that an accepted event answers for its `event_id`.
    """

    def __init__(self, database: Database, clock: Clock, retention: float) -> None:
        self.database = database
        self._clock = clock
        self._retention = retention

    def _now(self) -> int:
        return int(self._clock() * 1000)

    async def create(self) -> None:
        """Make the tables where they are not there yet."""
        statements = read_sql("outbox_schema.sql")

        def run(connection: sqlite3.Connection) -> None:
            # Not `executescript`, which would commit what others wrote in this transaction.
            statement = ""
            for line in statements.splitlines(keepends=True):
                statement += line
                if sqlite3.complete_statement(statement):
                    connection.execute(statement)
                    statement = ""

        await self.database.write(run)

    def submit(self, events: Sequence[Event]) -> Submitted:
        """Take events, all or none. Thread-safe; never blocks."""
        size = sum(len(event.payload) + _ROW_SIZE for event in events)
        return self.database.store(_Insertion(events), size)

    async def find(self, tenant: str, event_id: str) -> Row | None:
        """What was submitted with that `event_id`."""
        values = await self.database.read(lambda c: c.execute(_QUERIES["find"], (tenant, event_id)).fetchone())
        return None if values is None else _row(values)

    async def committed(self) -> None:
        """Wait until all that was submitted so far is committed."""
        await (await self._submit(lambda connection: None)).wait()

    # Handing over

    async def next(self, tenant: str, limit: int) -> list[Row]:
        """The tenant's first events that wait, in order; fewer where they are big."""
        return await self.database.read(partial(_next, tenant=tenant, limit=limit))

    async def waits(self, tenant: str | None = None) -> bool:
        """Whether events wait, of this tenant or of anyone."""
        if tenant is None:
            return await self.database.read(lambda c: bool(c.execute(_QUERIES["anything_waits"]).fetchone()[0]))
        return await self.database.read(lambda c: bool(c.execute(_QUERIES["waits"], (tenant,)).fetchone()[0]))

    async def tenants(self, after: int | None) -> tuple[list[str], int]:
        """Tenants with events that wait, among those committed after a position (None: all), and the new position."""
        return await self.database.read(partial(_tenants, after=after))

    async def accept(self, row: Row, event: Event, *, check_at: float | None) -> Write[None]:
        """Svix has it, as this event. Wait for the write to know that this is remembered."""
        _, _, event_type, timestamp, channels, payload = _values(event)
        values = {"seq": row.seq, "timestamp": timestamp, **self._accepted(event, check_at)}
        first = None if payload == row.event.payload else (event_type, channels, payload, row.seq)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_QUERIES["accept"], values)
            if first is not None:
                connection.execute(_QUERIES["replace"], first)

        return await self._submit(write)

    async def record(self, event: Event, *, check_at: float | None) -> None:
        """Svix has it, though it never waited here."""
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
        await self.database.write(partial(_execute, name="insert_accepted", values=values))

    def _accepted(self, event: Event, check_at: float | None) -> dict[str, Any]:
        keep = min(_KEEP_MINTED, self._retention) if is_minted(event.event_id) else self._retention
        return {
            "message_id": event.id or None,
            "now": self._now(),
            "keep_until": self._now() + int(keep * 1000),
            "check_at": None if check_at is None else int(check_at * 1000),
        }

    async def park(self, row: Row, code: str, detail: str) -> Write[None]:
        """Svix will never have it as it is."""
        return await self._submit(partial(_execute, name="park", values=(self._now(), code, detail, row.seq)))

    async def _submit(self, fn: Callable[[sqlite3.Connection], None]) -> Write[None]:
        while True:
            try:
                return self.database.submit(fn)
            except QueueFull:
                # Only hosts that emit are turned away.
                await anyio.sleep(_QUEUE_PAUSE)

    # Keeping

    async def parked(self, limit: int, after: int = 0) -> list[Parked]:
        """Events that were refused for good, oldest first."""
        rows = await self.database.read(lambda c: c.execute(_QUERIES["parked"], (after, limit)).fetchall())
        return [Parked(_event(row), row[9], row[10], datetime.fromtimestamp(row[11] / 1000, UTC)) for row in rows]

    async def release(self, tenant: str | None) -> int:
        """Let parked events wait again, of this tenant or of all. Returns how many."""
        name, values = ("release", ()) if tenant is None else ("release_of_tenant", (tenant,))
        return await self.database.write(lambda c: c.execute(_QUERIES[name], values).rowcount)

    async def in_doubt(self, limit: int = _BATCH) -> list[Row]:
        """Accepted events for which it is time to see whether they are being delivered."""
        now = self._now()
        rows = await self.database.read(lambda c: c.execute(_QUERIES["in_doubt"], (now, limit)).fetchall())
        return [_row(values) for values in rows]

    async def settle_doubt(self, row: Row, again_at: float | None = None) -> None:
        """It is being delivered; or look again later."""
        values = (None if again_at is None else int(again_at * 1000), row.seq)
        await self.database.write(partial(_execute, name="settle_doubt", values=values))

    async def prune(self) -> bool:
        """Forget a batch of accepted events that are old enough. False when there were none."""
        now = self._now()
        return bool(await self.database.write(lambda c: c.execute(_QUERIES["prune"], (now, _BATCH)).rowcount))

    async def erase(self, tenant: str) -> None:
        """Forget a tenant's events, also those that wait."""
        while await self.database.write(lambda c: c.execute(_QUERIES["erase"], (tenant, _BATCH)).rowcount):
            pass

    async def counts(self) -> Counts:
        """How much lies here."""
        return await self.database.read(_counts)


def _execute(connection: sqlite3.Connection, *, name: str, values: Any) -> None:
    connection.execute(_QUERIES[name], values)


def _next(connection: sqlite3.Connection, *, tenant: str, limit: int) -> list[Row]:
    rows: list[Row] = []
    size = 0
    for values in connection.execute(_QUERIES["next"], (tenant, limit)):
        rows.append(_row(values))
        size += len(rows[-1].event.payload)
        if size > _BATCH_BYTES:
            break
    return rows


def _tenants(connection: sqlite3.Connection, *, after: int | None) -> tuple[list[str], int]:
    row = connection.execute(_QUERIES["high_water"]).fetchone()
    high = 0 if row is None else int(row[0])
    if after is not None:
        return [tenant for (tenant,) in connection.execute(_QUERIES["tenants_between"], (after, high))], high
    # From tenant to tenant: `DISTINCT` would read each of perhaps millions of rows.
    tenants: list[str] = []
    row = connection.execute(_QUERIES["next_tenant"], ("",)).fetchone()
    while row is not None:
        tenants.append(row[0])
        row = connection.execute(_QUERIES["next_tenant"], (row[0],)).fetchone()
    return tenants, high


def _counts(connection: sqlite3.Connection) -> Counts:
    (waiting,) = connection.execute(_QUERIES["count_waiting"], (_MOST_COUNTED,)).fetchone()
    (parked,) = connection.execute(_QUERIES["count_parked"], (_MOST_COUNTED,)).fetchone()
    oldest = connection.execute(_QUERIES["oldest_waiting"]).fetchone()
    return Counts(waiting, None if oldest is None else oldest[0] / 1000, parked)
