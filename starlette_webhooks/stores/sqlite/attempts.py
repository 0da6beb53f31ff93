"""Reads attempts. The functions run on the database's threads."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.endpoints import EndpointStats
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.limits import LIST_BYTES, LOOKED_AT
from starlette_webhooks.stores.moments import to_ms
from starlette_webhooks.stores.ranges import attempt_range
from starlette_webhooks.stores.rows import text_size, to_attempt, to_stats
from starlette_webhooks.stores.sqlite.queries import load_queries

__all__ = ["list_attempts", "stats"]

_QUERIES = load_queries("attempts.sql")
_HOUR = 3_600_000


def list_attempts(
    connection: sqlite3.Connection, tenant: str, query: AttemptQuery, *, most: int = LOOKED_AT
) -> Page[Attempt]:
    """Return a page, newest first. Empty if the tenant has no such event or endpoint.

    If few of 5,000 attempts match the filter, or they have more than 256 KiB, the page ends early with a cursor to
    continue.

    Raises:
        InvalidRequest: The cursor is invalid.
    """
    items: list[Attempt] = []
    size, last = 0, ""
    for looked_at, (identifier, no, status_code, event_type) in enumerate(_keys(connection, tenant, query)):
        if len(items) == query.limit or looked_at == most or size > LIST_BYTES:
            return Page(items, last, False)
        last = identifier
        if _passes(query, status_code, event_type):
            row = connection.execute(_QUERIES["attempt"], (no,)).fetchone()
            if row is not None:
                items.append(to_attempt(row))
                size += text_size(row)
    return Page(items, None, True)


def _passes(query: AttemptQuery, status_code: int, event_type: str) -> bool:
    if query.status_code_class is not None and status_code // 100 != query.status_code_class:
        return False
    return not query.event_types or event_type in query.event_types


def _keys(connection: sqlite3.Connection, tenant: str, query: AttemptQuery) -> Iterator[Sequence[Any]]:
    """Return ids, newest first, by merging one ordered index scan per endpoint and status."""
    high, low = attempt_range(query)
    outcomes = (0, 1) if query.status is None else (int(query.status == "success"),)
    endpoints: Sequence[int | None] = [None]
    if query.endpoint_id is not None:
        rows = connection.execute(_QUERIES["endpoint"], (tenant, query.endpoint_id))
        endpoints = [row[0] for row in rows]
    elif query.event_id is None:
        endpoints = [row[0] for row in connection.execute(_QUERIES["endpoints"], (tenant,))]
    statement, bounds = _QUERIES["keys_of_endpoint"], [high, low]
    if query.event_id is not None:
        statement, bounds = _QUERIES["keys_of_event"], [tenant, query.event_id, high, low]
    walks = [connection.execute(statement, (no, ok, *bounds)) for no in endpoints for ok in outcomes]
    return heapq.merge(*walks, key=lambda row: str(row[0]), reverse=True)


def stats(
    connection: sqlite3.Connection, tenant: str, endpoint_id: str, since: datetime, until: datetime
) -> EndpointStats | None:
    """Return the attempts to an endpoint by hour, for the hours that begin in the window or contain its start.

    Pending deliveries are counted up to 10,000.
    """
    row = connection.execute(_QUERIES["endpoint"], (tenant, endpoint_id)).fetchone()
    if row is None:
        return None
    start = to_ms(since)
    hours = connection.execute(_QUERIES["hours"], (row[0], start - start % _HOUR, to_ms(until))).fetchall()
    (pending,) = connection.execute(_QUERIES["pending"], (row[0],)).fetchone()
    return to_stats(hours, pending, since, until)
