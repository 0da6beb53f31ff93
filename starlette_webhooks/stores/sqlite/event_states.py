"""Reads the states of events' deliveries. The functions run on the database's threads."""

from __future__ import annotations

import heapq
import sqlite3
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from starlette_webhooks.event_states import EventDelivery, EventSearch, EventSummary, needles
from starlette_webhooks.named_sql import substitute
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.event_states import (
    COUNTED_STATES,
    PREVIEW_BYTES,
    SEARCHED_BYTES,
    SEARCHED_SECONDS,
    to_delivery,
    to_summary,
)
from starlette_webhooks.stores.positions import AFTER_ALL_IDS
from starlette_webhooks.stores.ranges import event_range
from starlette_webhooks.stores.rows import page_of
from starlette_webhooks.stores.sqlite.queries import load_queries
from starlette_webhooks.stores.sqlite.rows import to_event

__all__ = ["event_deliveries", "search_events"]

_QUERIES = load_queries("event_states.sql")


def search_events(
    connection: sqlite3.Connection, query: EventSearch, *, looked_at: int, seconds: float = SEARCHED_SECONDS
) -> Page[EventSummary]:
    """See `EventStateStore.search_events`."""
    endpoint = None
    if query.endpoint_id is not None:
        found = connection.execute(_QUERIES["endpoint"], (query.tenant, query.endpoint_id)).fetchone()
        if found is None:
            return Page([], None, True)
        (endpoint,) = found
    items: list[EventSummary] = []
    end, size, last = time.monotonic() + seconds, 0, ""
    for looked, (identifier, seq, *row, passes) in enumerate(_events(connection, query)):
        if len(items) == query.limit or looked == looked_at or size > SEARCHED_BYTES or (last and _late(end)):
            return Page(items, last, False)
        last = identifier
        size += row[-1] if query.text is not None else 0
        if passes:
            event = to_summary((identifier, *row), _counts(connection, seq, endpoint))
            if event.is_in(query.state):
                items.append(event)
    return Page(items, None, True)


def _late(end: float) -> bool:
    return time.monotonic() > end


def _events(connection: sqlite3.Connection, query: EventSearch) -> Iterator[Sequence[Any]]:
    """Return events, newest first, by merging one ordered index scan per type."""
    high, low = event_range(query)
    text, escaped = needles(query.text or "")
    values = {
        "tenant": query.tenant,
        "channel": query.channel,
        "high": high,
        "low": low,
        "text": text,
        "escaped": escaped,
        "preview": PREVIEW_BYTES,
    }
    matches = _QUERIES["any" if query.text is None else "containing"]
    # The column whose index is in this order.
    identifier = "event.id" if query.channel is None else "label.id"
    statement = substitute(_QUERIES["events"], matches=matches, keys=_QUERIES[_keys(query)], id=identifier)
    walks = [connection.execute(statement, {**values, "type": name}) for name in query.event_types or (None,)]
    return heapq.merge(*walks, key=lambda row: str(row[0]), reverse=True)


def _keys(query: EventSearch) -> str:
    if query.channel is not None:
        return "of_channel_and_type" if query.event_types else "of_channel"
    return "of_type" if query.event_types else "of_tenant"


def _counts(connection: sqlite3.Connection, event: int, endpoint: int | None) -> Sequence[int]:
    which = _QUERIES["to_any" if endpoint is None else "to_one"]
    values = {"event": event, "endpoint": endpoint, "counted": COUNTED_STATES}
    found: Sequence[int] = connection.execute(substitute(_QUERIES["counts"], endpoint=which), values).fetchone()
    return found


def event_deliveries(
    connection: sqlite3.Connection, tenant: str, identifier: str, limit: int, cursor: str | None
) -> Page[EventDelivery] | None:
    """See `EventStateStore.event_deliveries`."""
    found = connection.execute(_QUERIES["event"], (tenant, identifier)).fetchone()
    if found is None:
        return None
    event = to_event(found)
    values = {"event": found[0], "tenant": tenant, "cursor": cursor or AFTER_ALL_IDS, "limit": limit + 1}
    rows = connection.execute(_QUERIES["deliveries"], values)
    return page_of(rows, limit, partial(to_delivery, event), lambda delivery: delivery.endpoint_id)
