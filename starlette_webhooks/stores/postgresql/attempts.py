"""Reads attempts and their statistics."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.endpoints import EndpointStats
from starlette_webhooks.identifiers import first_id
from starlette_webhooks.named_sql import substitute
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.limits import LIST_BYTES, LOOKED_AT
from starlette_webhooks.stores.moments import to_ms
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.ranges import attempt_range
from starlette_webhooks.stores.rows import text_size, to_attempt, to_stats

__all__ = ["endpoint_stats", "list_attempts"]

_FILE = "attempts.sql"
_BATCH = 500
_HOUR = 3_600_000


async def list_attempts(database: Database, tenant: str, query: AttemptQuery) -> Page[Attempt]:
    """Return a page, newest first. Empty if the tenant has no such event or endpoint.

    If few of 5,000 attempts match the filter, or they have more than 256 KiB, the page ends early with a cursor to
    continue.

    Raises:
        InvalidRequest: The cursor is not valid.
    """
    queries = database.queries(_FILE)
    keys = queries["keys_of_endpoints" if query.event_id is None else "keys_of_event"]
    statement = substitute(queries["attempts_of_keys"], keys=keys)
    values = _values(tenant, query)
    items: list[Attempt] = []
    size = 0
    for _ in range(0, LOOKED_AT, values["batch"]):
        rows = await database.call(statement, values)
        for row in rows:
            if len(items) == query.limit or size > LIST_BYTES:
                return Page(items, values["high"], False)
            identifier, passes, *rest = row
            values["high"] = identifier
            if passes:
                items.append(to_attempt((identifier, *rest)))
                size += text_size(rest)
        if len(rows) < values["batch"]:
            return Page(items, None, True)
    return Page(items, values["high"], False)


def _values(tenant: str, query: AttemptQuery) -> dict[str, Any]:
    high, low = attempt_range(query)
    filtered = query.status_code_class is not None or bool(query.event_types)
    return {
        "tenant": tenant,
        "event": query.event_id,
        "endpoint": query.endpoint_id,
        "outcomes": [False, True] if query.status is None else [query.status == "success"],
        "class": query.status_code_class,
        "types": list(query.event_types),
        "high": high,
        "low": low,
        "limit": query.limit,
        "batch": max(_BATCH, query.limit + 1) if filtered else query.limit + 1,
    }


async def endpoint_stats(
    database: Database, tenant: str, endpoint_id: str, since: datetime, until: datetime, *, now: int
) -> EndpointStats | None:
    """Return the attempts to an endpoint by hour, for the hours that begin in the window or contain its start.

    Pending deliveries are counted up to 10,000.
    """
    queries = database.queries(_FILE)
    rows = await database.call(queries["counted_until"], (tenant, endpoint_id))
    if not rows:
        return None
    ((number, counted_until),) = rows
    start, end = to_ms(since) - to_ms(since) % _HOUR, to_ms(until)
    live = range(max(start, counted_until), min(end, now + _HOUR), _HOUR)
    values = {
        "endpoint": number,
        "start": start,
        "end": end,
        "hours": list(live),
        "lows": [first_id("atmpt_", hour) for hour in live],
        "highs": [first_id("atmpt_", hour + _HOUR) for hour in live],
    }
    *counted, (_, pending, _) = await database.call(queries["hours"], values)
    return to_stats([row for row in counted if row[1] or row[2]], pending, since, until)
