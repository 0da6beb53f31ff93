"""Reads the event log.

Lists are sorted by `id`, the order of time. Streams follow `seq`, the order of commits, in which no event ever appears
behind a reader. The functions take a connection and run on the database's threads.
"""

from __future__ import annotations

import sqlite3

from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.feed import REPLAY_BYTES, Entry, StreamFilter
from starlette_webhooks.named_sql import substitute
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.limits import PAGE_BYTES, REPLAY_EVENTS
from starlette_webhooks.stores.ranges import event_range
from starlette_webhooks.stores.resuming import Removed, TenantLog, removed_name
from starlette_webhooks.stores.sqlite.meta import get_meta
from starlette_webhooks.stores.sqlite.queries import load_queries
from starlette_webhooks.stores.sqlite.rows import to_event
from starlette_webhooks.stores.tail import ReplayPage, ReplayStart

__all__ = ["get_event", "high_water", "list_events", "read_committed", "read_replay", "read_tail", "start_replay"]

_QUERIES = load_queries("log.sql")


def get_event(connection: sqlite3.Connection, tenant: str, identifier: str) -> Event | None:
    """Return an event of the tenant by its public id."""
    row = connection.execute(_QUERIES["event_by_id"], (tenant, identifier)).fetchone()
    return None if row is None else to_event(row)


def list_events(connection: sqlite3.Connection, tenant: str, query: EventQuery) -> Page[Event]:
    """Return a page, newest first. A page of more than 8 MiB ends early."""
    events: list[Event] = []
    size = 0
    for row in _select(connection, tenant, query):
        if len(events) == query.limit or size > PAGE_BYTES:
            return Page(events, events[-1].id, False)
        events.append(to_event(row))
        size += len(events[-1].payload)
    return Page(events, None, True)


def _select(connection: sqlite3.Connection, tenant: str, query: EventQuery) -> sqlite3.Cursor:
    limit = query.limit + 1
    bounds = (*event_range(query), limit)
    if query.channel is None and not query.event_types:
        return connection.execute(_QUERIES["list_events"], (tenant, *bounds))
    # One keyset per type, merged: `type IN (...)` would scan the whole log for rare types.
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
    return connection.execute(substitute(_QUERIES["events_of_keys"], keys=keys), (*values, limit))


def high_water(connection: sqlite3.Connection) -> int:
    """Return the position of the last event that was ever committed."""
    row = connection.execute(_QUERIES["high_water"]).fetchone()
    return 0 if row is None else int(row[0])


def start_replay(connection: sqlite3.Connection, tenant: str, after: str | int | None) -> ReplayStart:
    """Return where a replay starts and ends. See `LogReader.start_replay`."""
    high = high_water(connection)
    if isinstance(after, int):
        return ReplayStart(after, high)
    newest = connection.execute(_QUERIES["newest_event"], (tenant,)).fetchone()
    oldest = connection.execute(_QUERIES["oldest_event"], (tenant,)).fetchone()
    removed = Removed.decode(get_meta(connection, removed_name(tenant)))
    log = TenantLog(high, None if oldest is None else oldest[0], newest, removed)
    if after is None:
        return log.start_now()
    row = connection.execute(_QUERIES["event_by_id"], (tenant, after)).fetchone()
    if row is not None:
        return log.start_after(row[0])

    def find_later() -> int | None:
        (first,) = connection.execute(_QUERIES["first_minted_after"], (tenant, after)).fetchone()
        return None if first is None else int(first)

    return log.start_after_missing(after, find_later)


def read_committed(connection: sqlite3.Connection, tenant: str, after: int, limit: int) -> list[Entry]:
    """Return the tenant's events after a position, in order of commits."""
    rows = connection.execute(_QUERIES["committed"], (tenant, after, limit))
    return [Entry(row[0], to_event(row)) for row in rows]


def read_replay(
    connection: sqlite3.Connection,
    tenant: str,
    filter: StreamFilter,
    after: int,
    until: int,
    limit: int = REPLAY_EVENTS,
) -> ReplayPage:
    """Return the next events that match, up to `REPLAY_BYTES`, out of at most 500 events or 8 MiB."""
    events: list[Event] = []
    size = looked_at = seen = 0
    removed = Removed.decode(get_meta(connection, removed_name(tenant))).position
    for row in connection.execute(_QUERIES["replay"], (tenant, after, until, limit)):
        after = row[0]
        seen += 1
        event = to_event(row)
        looked_at += len(event.payload)
        if filter.matches(event):
            events.append(event)
            size += len(event.payload)
        if size > REPLAY_BYTES or looked_at > PAGE_BYTES:  # pragma: no cover  Needs as many bytes.
            return ReplayPage(events, after, False, removed)
    done = seen < limit
    return ReplayPage(events, until if done else after, done, removed)


def read_tail(connection: sqlite3.Connection, after: int, limit: int) -> list[Entry]:
    """Return what all tenants committed after a position, in order."""
    return [Entry(row[0], to_event(row)) for row in connection.execute(_QUERIES["tail"], (after, limit))]
