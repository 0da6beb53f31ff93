"""Reads the states of events' deliveries."""

from __future__ import annotations

import time
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
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.postgresql.rows import to_event
from starlette_webhooks.stores.ranges import event_range
from starlette_webhooks.stores.rows import page_of

__all__ = ["event_deliveries", "search_events"]

_FILE = "event_states.sql"
_BATCH = 500


async def search_events(
    database: Database, query: EventSearch, *, looked_at: int, seconds: float = SEARCHED_SECONDS
) -> Page[EventSummary]:
    """See `EventStateStore.search_events`."""
    endpoint = None
    if query.endpoint_id is not None:
        found = await database.call(database.queries(_FILE)["endpoint"], (query.tenant, query.endpoint_id))
        if not found:
            return Page([], None, True)
        endpoint = found[0][0]
    statement, values = _statement(database, query, endpoint), _values(query, endpoint)
    items: list[EventSummary] = []
    end, looked, size = time.monotonic() + seconds, 0, 0
    while True:
        rows = await database.call(statement, values)
        for row in rows:
            if len(items) == query.limit or looked == looked_at:
                return Page(items, values["high"], False)
            identifier, passes, _, *event = row
            values["high"], looked, size = identifier, looked + 1, size + event[4]
            if passes:
                summary = to_summary((identifier, *event[:5]), event[5:])
                if summary.is_in(query.state):
                    items.append(summary)
        if not rows or len(rows) == rows[0][2] < values["batch"]:
            return Page(items, None, True)
        if time.monotonic() > end or (query.text is not None and size > SEARCHED_BYTES):
            return Page(items, values["high"], False)


def _statement(database: Database, query: EventSearch, endpoint: int | None) -> str:
    queries = database.queries(_FILE)
    to = "any" if endpoint is None else "one"
    return substitute(
        queries["events"],
        keys=database.queries("log.sql")[_keys(query)],
        matches=queries["any" if query.text is None else "containing"],
        attempt=queries[f"attempt_to_{to}"],
        delivery=queries[f"delivery_to_{to}"],
    )


def _keys(query: EventSearch) -> str:
    if query.channel is not None:
        return "keys_of_channel_and_types" if query.event_types else "keys_of_channel"
    return "keys_of_types" if query.event_types else "keys"


def _values(query: EventSearch, endpoint: int | None) -> dict[str, Any]:
    high, low = event_range(query)
    text, escaped = needles(query.text or "")
    batch = max(_BATCH, query.limit + 1) if query.is_narrow else query.limit + 1
    return {
        "tenant": query.tenant,
        "channel": query.channel,
        "types": list(query.event_types),
        "endpoint": endpoint,
        "text": text,
        "escaped": escaped,
        "high": high,
        "low": low,
        "limit": batch,
        "batch": batch,
        # The size only matters if payloads are read.
        "bytes": 2**62 if query.text is None else SEARCHED_BYTES,
        "preview": PREVIEW_BYTES,
        "counted": COUNTED_STATES,
    }


async def event_deliveries(
    database: Database, tenant: str, identifier: str, *, limit: int, cursor: str | None, now: int
) -> Page[EventDelivery] | None:
    """See `EventStateStore.event_deliveries`."""
    queries = database.queries(_FILE)
    found = await database.call(queries["event"], (tenant, identifier))
    if not found:
        return None
    event = to_event(found[0])
    values = {
        "event": found[0][0],
        "tenant": tenant,
        "cursor": cursor or AFTER_ALL_IDS,
        "limit": limit + 1,
        "now": now,
    }
    rows = await database.call(queries["deliveries"], values)
    return page_of(rows, limit, partial(to_delivery, event), lambda delivery: delivery.endpoint_id)
