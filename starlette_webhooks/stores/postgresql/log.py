"""Reads the event log. Lists are sorted by `id`, the order of time. Streams follow `seq`, the order of commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.feed import REPLAY_BYTES, Entry, StreamFilter
from starlette_webhooks.named_sql import substitute
from starlette_webhooks.outbox.horizon import Start
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.limits import PAGE_BYTES, REPLAY_EVENTS
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.postgresql.rows import to_event
from starlette_webhooks.stores.ranges import event_range
from starlette_webhooks.stores.resuming import Removed, TenantLog, removed_name
from starlette_webhooks.stores.tail import LogEnd, ReplayPage, ReplayStart

__all__ = [
    "TailPage",
    "get_event",
    "high_water",
    "list_events",
    "read_committed",
    "read_replay",
    "read_tail",
    "start_replay",
]

_FILE = "log.sql"


@dataclass(frozen=True, slots=True)
class TailPage:
    """The events that were committed after an event.

    Attributes:
        more: Whether there was more than 8 MiB.
        log: Which log was read. See `webhooks.log_1`.
        intact: Whether that event still exists. None if it does not, but may have been removed.
        handovers, outbox: See `Polling.saw`.
    """

    entries: Sequence[Entry]
    more: bool
    log: str
    intact: bool | None
    handovers: int
    outbox: bool


async def get_event(database: Database, tenant: str, identifier: str) -> Event | None:
    """Return an event of the tenant by its public id."""
    rows = await database.call(database.queries(_FILE)["event_by_id"], (tenant, identifier))
    return to_event(rows[0]) if rows else None


async def list_events(database: Database, tenant: str, query: EventQuery) -> Page[Event]:
    """Return a page, newest first. A page of more than 8 MiB ends early."""
    high, low = event_range(query)
    values = {
        "tenant": tenant,
        "high": high,
        "low": low,
        "types": list(query.event_types),
        "channel": query.channel,
        "limit": query.limit + 1,
        "bytes": PAGE_BYTES,
    }
    queries = database.queries(_FILE)
    statement = substitute(queries["events_of_keys"], keys=queries[_keys(query)])
    rows = await database.call(statement, values)
    events = [to_event(row[:9]) for row in rows[: query.limit]]
    # The last column is the number of events before the limit of bytes.
    done = not rows or (len(rows) <= query.limit and len(rows) == rows[0][9])
    return Page(events, None if done else events[-1].id, done)


def _keys(query: EventQuery) -> str:
    if query.channel is not None:
        return "keys_of_channel_and_types" if query.event_types else "keys_of_channel"
    return "keys_of_types" if query.event_types else "keys"


async def high_water(database: Database) -> tuple[LogEnd, str]:
    """Return the position of the last stored event, and the log."""
    ((position, identifier, log),) = await database.call(database.queries(_FILE)["high_water"])
    return LogEnd(position, identifier), log


async def read_committed(database: Database, tenant: str, after: int, limit: int) -> list[Entry]:
    """Return the tenant's events after a position, in order of commits."""
    rows = await database.call(database.queries(_FILE)["committed"], (tenant, after, limit))
    return [Entry(row[0], to_event(row)) for row in rows]


async def start_replay(database: Database, tenant: str, after: str | int | None) -> tuple[ReplayStart, str]:
    """Return where a replay starts and ends, and the log. See `LogReader.start_replay`."""
    values = {"tenant": tenant, "after": after if isinstance(after, str) else "", "removed": removed_name(tenant)}
    ((*found, log),) = await database.call(database.queries(_FILE)["start_replay"], values)
    return _start(after, *found), log


def _start(
    after: str | int | None,
    high: int,
    position: int | None,
    later: int | None,
    oldest: str | None,
    newest: str | None,
    newest_position: int,
    removed: bytes | None,
) -> ReplayStart:
    noted = Removed.decode(removed)
    # Its events may be the last ones that were committed.
    high = max(high, noted.position)
    if isinstance(after, int):
        return ReplayStart(after, high)
    log = TenantLog(high, oldest, None if newest is None else (newest_position, newest), noted)
    if after is None:
        return log.start_now()
    return log.start_after_missing(after, lambda: later) if position is None else log.start_after(position)


async def read_replay(
    database: Database, tenant: str, filter: StreamFilter, after: int, until: int, limit: int = REPLAY_EVENTS
) -> tuple[ReplayPage, str | None]:
    """Return the next matching events out of 500: at most `REPLAY_BYTES`, or one.

    Also returns the log, or None if it was empty.
    """
    values = {
        "tenant": tenant,
        "after": after,
        "until": until,
        "limit": limit,
        "types": list(filter.event_types),
        "channel": filter.channel,
        "bytes": REPLAY_BYTES,
        "removed": removed_name(tenant),
    }
    rows = await database.call(database.queries(_FILE)["replay"], values)
    found, log, removed = rows[0][10:]
    if found is None:
        return ReplayPage([], until, True, removed), None
    events = [to_event(row[:9]) for row in rows if row[9]]
    done = found < limit and len(rows) == found
    return ReplayPage(events, until if done else rows[-1][0], done, removed), log


async def read_tail(database: Database, outbox: Start, after: LogEnd, limit: int) -> TailPage:
    """Return what all tenants committed after an event, in order.

    Args:
        outbox: Where to look for events of hosts.
    """
    values: dict[str, Any] = {"after": after.position, "id": after.id, "limit": limit, "bytes": PAGE_BYTES}
    values |= zip(("floor", "numbers", "times"), outbox.values, strict=True)
    rows = await database.call(database.queries(_FILE)["tail"], values)
    entries = [Entry(row[0], to_event(row[:9])) for row in rows if row[0] is not None]
    return TailPage(entries, bool(entries) and len(entries) < rows[0][9], *rows[0][10:])
