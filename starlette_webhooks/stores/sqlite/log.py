"""The event log: what is written in one transaction with its deliveries, and how it is read.

Lists go by `id`, which is the order of time; streams go by `seq`, which is the order of commits and never lets an event
appear behind a reader. The functions take a connection and run on the database's threads.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.feed import Entry, StreamFilter
from starlette_webhooks.identifiers import first_id
from starlette_webhooks.pagination import Page
from starlette_webhooks.payloads import implied_event_id
from starlette_webhooks.stores.sqlite.queries import in_one_row, load_queries

__all__ = ["Insertion", "ReplayPage", "erase_events", "get_event", "high_water", "list_events", "prune", "read_replay"]

_QUERIES = load_queries("log.sql")
_INSERT = _QUERIES["insert_event"]
_DELIVER = _QUERIES["insert_deliveries"]
_INSERT_ROW = "(?, ?, ?, ?, NULL, NULL, ?)"
_ROWS = 64
_AFTER_ALL_IDS = "msg_~"
_PAGE_BYTES = 8_388_608
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
REPLAY_EVENTS = 500


def to_ms(moment: datetime) -> int:
    """Whole milliseconds since the epoch, never rounded up: what happened in this millisecond is not before it."""
    return (moment - _EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """The moment in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _event(row: Sequence[Any]) -> Event:
    _, identifier, tenant, event_type, timestamp, event_id, channels, payload = row
    return Event(
        identifier,
        tenant,
        event_type,
        payload,
        from_ms(timestamp),
        event_id or implied_event_id(identifier),
        tuple(json.loads(channels)) if channels else (),
    )


class Insertion:
    """Writes events and their deliveries. Answers what became of them.

    Args:
        due_in: Milliseconds until the first attempt.
        endpoint: Deliver to this endpoint alone, filters aside.
    """

    __slots__ = ("due_in", "endpoint", "events")

    def __init__(self, events: Sequence[Event], *, due_in: int = 0, endpoint: str | None = None) -> None:
        self.events = events
        self.due_in = due_in
        self.endpoint = endpoint

    @property
    def together(self) -> Callable[[sqlite3.Connection, Sequence[Insertion]], list[Inserted]] | None:
        """See `Database.submit`. Ordinary events go together: delivered at once, under a minted id, in no channel."""
        if self.due_in or self.endpoint is not None:
            return None
        for event in self.events:
            if event.channels or event.event_id != implied_event_id(event.id):
                return None
        return _insert_together

    def __call__(self, connection: sqlite3.Connection) -> Inserted:
        events = []
        fresh: list[Entry] = []
        endpoints: list[int] = []
        for event in self.events:
            stored, new = self._insert(connection, event)
            events.append(stored.event)
            if new:
                fresh.append(stored)
                endpoints += self._fan_out(connection, stored)
        return Inserted(events, endpoints, entries=fresh)

    def _insert(self, connection: sqlite3.Connection, event: Event) -> tuple[Entry, bool]:
        event_id = None if event.event_id == implied_event_id(event.id) else event.event_id
        if event_id is not None and event_id.startswith("evt_"):
            # Perhaps the one that an event got for which the host gave none.
            row = connection.execute(_QUERIES["event_by_id"], (event.tenant, "msg_" + event_id[4:])).fetchone()
            if row is not None:
                return Entry(row[0], _event(row)), False
        channels = json.dumps(event.channels) if event.channels else None
        values = (event.id, event.tenant, event.type, to_ms(event.timestamp), event_id, channels, event.payload)
        cursor = connection.execute(_INSERT, values)
        if cursor.rowcount == 0:
            row = connection.execute(_QUERIES["event_of_event_id"], (event.tenant, event_id)).fetchone()
            return Entry(row[0], _event(row)), False
        seq = cursor.lastrowid
        assert seq is not None
        for channel in event.channels:
            connection.execute(_QUERIES["insert_channel"], (event.tenant, channel, event.type, event.id, seq))
        return Entry(seq, event), True

    def _fan_out(self, connection: sqlite3.Connection, entry: Entry) -> list[int]:
        event = entry.event
        due = to_ms(event.timestamp) + self.due_in
        if self.endpoint is not None:
            values = (entry.position, due, event.tenant, self.endpoint)
            return _numbers(connection.execute(_QUERIES["insert_test_delivery"], values))
        target = (entry.position, due, event.tenant, event.type)
        if event.channels:
            statement = _QUERIES["insert_channel_deliveries"]
            return _numbers(connection.execute(statement, (*target, json.dumps(event.channels))))
        return _numbers(connection.execute(_DELIVER, target))


def _numbers(endpoints: sqlite3.Cursor) -> list[int]:
    return [no for (no,) in endpoints]


@dataclass(slots=True)
class Inserted:
    """What an `Insertion` did.

    Attributes:
        events: All, as stored.
        endpoints: For which there are deliveries. Of insertions that went together, listed with the first of them.
        first: The position of the first event, where all are new, in a row. Else `entries` are the new ones.
    """

    events: Sequence[Event]
    endpoints: Collection[int]
    first: int = 0
    entries: Sequence[Entry] = ()

    @property
    def fresh(self) -> Sequence[Entry]:
        """The new events with their positions. Made when somebody asks: without streams, nobody does."""
        return [Entry(at, event) for at, event in enumerate(self.events, self.first)] if self.first else self.entries


def _insert_together(connection: sqlite3.Connection, insertions: Sequence[Insertion]) -> list[Inserted]:
    # A few statements for all, as SQLite's module lets go of the interpreter's lock several times in each: while the
    # event loop is busy, every time costs a switch between the threads.
    events = [event for insertion in insertions for event in insertion.events]
    seq = _insert_rows(connection, events)
    endpoints: Collection[int] = ()
    queued = connection.execute(_QUERIES["insert_deliveries_of_events"], (seq, seq + len(events) - 1))
    if queued.rowcount:
        assert queued.lastrowid is not None
        first = queued.lastrowid - queued.rowcount + 1
        endpoints = in_one_row(connection, _QUERIES["endpoints_of_deliveries"], (first,))
    inserted = []
    for insertion in insertions:
        inserted.append(Inserted(insertion.events, endpoints, first=seq))
        seq += len(insertion.events)
        endpoints = ()
    return inserted


def _insert_rows(connection: sqlite3.Connection, events: Sequence[Event]) -> int:
    """Insert events and return the position of the first. The others follow it without gaps: nobody else writes."""
    first = 0
    for start in range(0, len(events), _ROWS):
        rows = events[start : start + _ROWS]
        values: list[Any] = []
        for event in rows:
            values += (event.id, event.tenant, event.type, to_ms(event.timestamp), event.payload)
        last = connection.execute(_insert_statement(len(rows)), values).lastrowid
        assert last is not None
        first = first or last - len(rows) + 1
    return first


@cache
def _insert_statement(rows: int) -> str:
    return f"{_QUERIES['insert_events']} {', '.join([_INSERT_ROW] * rows)}"


def get_event(connection: sqlite3.Connection, tenant: str, identifier: str) -> Event | None:
    """One event of the tenant by its public id."""
    row = connection.execute(_QUERIES["event_by_id"], (tenant, identifier)).fetchone()
    return None if row is None else _event(row)


def list_events(connection: sqlite3.Connection, tenant: str, query: EventQuery) -> Page[Event]:
    """A page, newest first. A page that grows beyond 8 MiB ends early."""
    high = query.cursor or _AFTER_ALL_IDS
    if query.before is not None:
        high = min(high, first_id("msg_", to_ms(query.before)))
    low = "" if query.after is None else first_id("msg_", to_ms(query.after))
    events: list[Event] = []
    size = 0
    for row in _select(connection, tenant, query, high, low):
        if len(events) == query.limit or size > _PAGE_BYTES:
            return Page(events, events[-1].id, False)
        events.append(_event(row))
        size += len(events[-1].payload)
    return Page(events, None, True)


def _select(connection: sqlite3.Connection, tenant: str, query: EventQuery, high: str, low: str) -> sqlite3.Cursor:
    limit = query.limit + 1
    bounds = (high, low, limit)
    if query.channel is None and not query.event_types:
        return connection.execute(_QUERIES["list_events"], (tenant, *bounds))
    # A keyset for each type, merged: `type IN (...)` walks the whole log for rare types.
    parts: list[tuple[str, tuple[str | int, ...]]]
    if query.channel is None:
        parts = [(_QUERIES["keys_of_type"], (tenant, name, *bounds)) for name in query.event_types]
    elif query.event_types:
        parts = [
            (_QUERIES["keys_of_channel_and_type"], (tenant, query.channel, name, *bounds)) for name in query.event_types
        ]
    else:
        parts = [(_QUERIES["keys_of_channel"], (tenant, query.channel, *bounds))]
    keys = "\nUNION ALL\n".join(statement for statement, _ in parts)
    values = [value for _, part in parts for value in part]
    return connection.execute(_QUERIES["events_of_keys"].replace(":keys", keys), (*values, limit))


def high_water(connection: sqlite3.Connection) -> int:
    """The position of the last event ever committed."""
    row = connection.execute(_QUERIES["high_water"]).fetchone()
    return 0 if row is None else int(row[0])


def locate(connection: sqlite3.Connection, tenant: str, identifier: str) -> int | None:
    """The position of an event of the tenant."""
    row = connection.execute(_QUERIES["event_by_id"], (tenant, identifier)).fetchone()
    return None if row is None else int(row[0])


def oldest_event(connection: sqlite3.Connection, tenant: str) -> str | None:
    """The id of the oldest event that is kept of the tenant."""
    row = connection.execute(_QUERIES["oldest_event"], (tenant,)).fetchone()
    return None if row is None else str(row[0])


def newest_event(connection: sqlite3.Connection, tenant: str) -> str | None:
    """The id of the tenant's event that was committed last."""
    row = connection.execute(_QUERIES["newest_event"], (tenant,)).fetchone()
    return None if row is None else str(row[0])


@dataclass(frozen=True, slots=True)
class ReplayPage:
    """Events in order, and the position up to which the log has been read."""

    events: Sequence[Event]
    position: int
    done: bool


def read_replay(
    connection: sqlite3.Connection, tenant: str, filter: StreamFilter, after: int, until: int
) -> ReplayPage:
    """The next events that pass, of 500 that are looked at or 8 MiB."""
    events: list[Event] = []
    size = seen = 0
    for row in connection.execute(_QUERIES["replay"], (tenant, after, until, REPLAY_EVENTS)):
        after = row[0]
        seen += 1
        event = _event(row)
        if filter.matches(event):
            events.append(event)
        size += len(event.payload)
        if size > _PAGE_BYTES:
            return ReplayPage(events, after, False)
    done = seen < REPLAY_EVENTS
    return ReplayPage(events, until if done else after, done)


def read_tail(connection: sqlite3.Connection, after: int, limit: int) -> list[Entry]:
    """What was committed after a position, of all tenants, in order."""
    return [Entry(row[0], _event(row)) for row in connection.execute(_QUERIES["tail"], (after, limit))]


def prune(connection: sqlite3.Connection, after: int, cutoff: int, batch: int = 200) -> int | None:
    """Remove events older than `cutoff` (ms) that have no delivery pending, looking at one batch behind `after`.

    Returns where to go on, or None where nothing older is left.
    """
    rows = connection.execute(_QUERIES["old_events"], (after, batch)).fetchall()
    old = [row for row in rows if row[5] < cutoff]
    for row in old:
        if not row[6]:
            _delete(connection, *row[:5])
    if len(old) < batch:
        connection.execute(_QUERIES["delete_old_hours"], (cutoff,))
        return None
    return int(old[-1][0])


def erase_events(connection: sqlite3.Connection, tenant: str, batch: int = 200) -> bool:
    """Remove one batch of a tenant's events with all that hangs on them. False when none were left."""
    rows = connection.execute(_QUERIES["events_of_tenant"], (tenant, batch)).fetchall()
    for row in rows:
        _delete(connection, *row)
    return bool(rows)


def _delete(
    connection: sqlite3.Connection, seq: int, identifier: str, tenant: str, event_type: str, channels: str | None
) -> None:
    for channel in json.loads(channels or "[]"):
        connection.execute(_QUERIES["delete_channel"], (tenant, channel, event_type, identifier))
    connection.execute(_QUERIES["delete_deliveries_of_event"], (seq,))
    connection.execute(_QUERIES["delete_attempts_of_event"], (seq,))
    connection.execute(_QUERIES["delete_event"], (seq,))


def read_meta(connection: sqlite3.Connection, name: str, default: bytes) -> bytes:
    """A value kept in the database; stored as `default` the first time."""
    connection.execute(_QUERIES["put_meta"], (name, default))
    row = connection.execute(_QUERIES["get_meta"], (name,)).fetchone()
    return bytes(row[0])
