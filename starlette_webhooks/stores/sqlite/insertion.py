"""Writes events into the log, together with their deliveries. Runs on the database's thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from starlette_webhooks.events import Event
from starlette_webhooks.feed import Entry
from starlette_webhooks.named_sql import substitute
from starlette_webhooks.payloads import implied_event_id
from starlette_webhooks.stores.moments import to_ms
from starlette_webhooks.stores.sqlite.joint import Joint
from starlette_webhooks.stores.sqlite.queries import in_one_row, load_queries
from starlette_webhooks.stores.sqlite.rows import to_event

__all__ = ["Inserted", "Insertion", "Queued"]

_QUERIES = load_queries("insertion.sql")
_INSERT = _QUERIES["insert_event"]
_DELIVER = _QUERIES["insert_deliveries"]
_INSERT_ROW = "(?, ?, ?, ?, NULL, NULL, ?)"
_INSERT_TRACED_ROW = "(?, ?, ?, ?, NULL, NULL, ?, ?)"
_ROWS = 64


@dataclass(frozen=True, slots=True)
class Queued:
    """Deliveries with consecutive numbers: their endpoints, and the first and the last number."""

    endpoints: Collection[int]
    first: int
    last: int
    urgent: bool = False


@dataclass(slots=True)
class Inserted:
    """What an `Insertion` did.

    Attributes:
        events: All of its events, as stored.
        positions: The position of each in the log, or 0 for an event that already existed.
        queued: Their deliveries, and those of other events that the same statements inserted.
    """

    events: Sequence[Event]
    positions: Sequence[int]
    queued: Sequence[Queued] = ()

    @property
    def entries(self) -> list[Entry]:
        """The new events with their positions. Computed on demand, since nobody needs them without streams."""
        return [Entry(position, event) for position, event in zip(self.positions, self.events, strict=True) if position]


class Insertion(Joint[Inserted]):
    """Writes events and their deliveries.

    Args:
        due_in: Milliseconds until the first attempt.
        endpoint: Deliver to this endpoint only, ignoring its filters.
    """

    __slots__ = ("due_in", "endpoint", "events")

    def __init__(self, events: Sequence[Event], *, due_in: int = 0, endpoint: str | None = None) -> None:
        self.events = events
        self.due_in = due_in
        self.endpoint = endpoint

    @property
    def joins(self) -> bool:
        """See `Joint`. Ordinary events join: due immediately, with a minted id, without channels, and not tests."""
        for event in self.events:
            if event.channels or event.event_id != implied_event_id(event.id) or event.test:
                return False
        return not self.due_in and self.endpoint is None

    def __call__(self, connection: sqlite3.Connection) -> Inserted:
        events: list[Event] = []
        positions: list[int] = []
        queued: list[Queued] = []
        for event in self.events:
            stored, position = self._insert(connection, event)
            events.append(stored)
            positions.append(position)
            if position:
                queued += self._deliver(connection, event, position)
        return Inserted(events, positions, queued)

    def _insert(self, connection: sqlite3.Connection, event: Event) -> tuple[Event, int]:
        event_id = None if event.event_id == implied_event_id(event.id) else event.event_id
        if event_id is not None and event_id.startswith("evt_"):
            # The event may have received this id because the host gave none.
            row = connection.execute(_QUERIES["event_by_id"], (event.tenant, "msg_" + event_id[4:])).fetchone()
            if row is not None:
                return to_event(row), 0
        channels = json.dumps(event.channels) if event.channels else None
        # Events for one endpoint only are never recovered, like tests.
        test = event.test or self.endpoint is not None
        head = (event.id, event.tenant, event.type, to_ms(event.timestamp))
        cursor = connection.execute(_INSERT, (*head, event_id, channels, event.payload, test, event.trace))
        if cursor.rowcount == 0:
            row = connection.execute(_QUERIES["event_of_event_id"], (event.tenant, event_id)).fetchone()
            if row is None:
                # It came before: a relay does not know whether an event that it forwarded was taken.
                row = connection.execute(_QUERIES["event_by_id"], (event.tenant, event.id)).fetchone()
            return to_event(row), 0
        position = cursor.lastrowid
        assert position is not None
        for channel in event.channels:
            connection.execute(_QUERIES["insert_channel"], (event.tenant, channel, event.type, event.id, position))
        return event, position

    def _deliver(self, connection: sqlite3.Connection, event: Event, position: int) -> list[Queued]:
        now = to_ms(event.timestamp)
        values: dict[str, Any] = {
            "event": position,
            "due": now + self.due_in,
            "stamped": now,
            "test": event.test,
            "tenant": event.tenant,
            "type": event.type,
        }
        statement = _DELIVER
        if self.endpoint is not None:
            statement = _QUERIES["insert_delivery_for"]
            values["endpoint"] = self.endpoint
        elif event.channels:
            statement = _QUERIES["insert_channel_deliveries"]
            values["channels"] = json.dumps(event.channels)
        rows = connection.execute(statement, values).fetchall()
        if not rows:
            return []
        urgent = event.test or self.endpoint is not None
        return [Queued([endpoint for endpoint, _ in rows], rows[0][1], rows[-1][1], urgent)]

    @classmethod
    def run_together(cls, connection: sqlite3.Connection, operations: Sequence[Self]) -> list[Inserted]:
        """See `Joint`."""
        # A few statements for all: SQLite's module releases the interpreter's lock several times in each. While
        # the event loop is busy, each release costs a switch between the threads.
        events = [event for insertion in operations for event in insertion.events]
        position = _insert_rows(connection, events)
        queued = _deliver_rows(connection, position, len(events))
        inserted = []
        for insertion in operations:
            end = position + len(insertion.events)
            inserted.append(Inserted(insertion.events, range(position, end), queued))
            position = end
        return inserted


def _insert_rows(connection: sqlite3.Connection, events: Sequence[Event]) -> int:
    """Insert events and return the position of the first. The others follow without gaps: nobody else writes."""
    first = 0
    for start in range(0, len(events), _ROWS):
        rows = events[start : start + _ROWS]
        traced = any(event.trace for event in rows)
        values: list[Any] = []
        for event in rows:
            values += (event.id, event.tenant, event.type, to_ms(event.timestamp), event.payload)
            if traced:
                values.append(event.trace)
        last = connection.execute(_insert_statement(len(rows), traced), values).lastrowid
        assert last is not None
        first = first or last - len(rows) + 1
    return first


@cache
def _insert_statement(rows: int, traced: bool) -> str:
    if traced:
        return substitute(_QUERIES["insert_traced_events"], rows=", ".join([_INSERT_TRACED_ROW] * rows))
    return substitute(_QUERIES["insert_events"], rows=", ".join([_INSERT_ROW] * rows))


def _deliver_rows(connection: sqlite3.Connection, position: int, count: int) -> Sequence[Queued]:
    """Queue the deliveries of events that follow each other."""
    cursor = connection.execute(_QUERIES["insert_deliveries_of_events"], (position, position + count - 1))
    if not cursor.rowcount:
        return ()
    assert cursor.lastrowid is not None
    first = cursor.lastrowid - cursor.rowcount + 1
    endpoints = in_one_row(connection, _QUERIES["endpoints_of_deliveries"], (first,))
    return (Queued(endpoints, first, cursor.lastrowid),)
