"""Figures, endpoints and events over all tenants. The functions run on the database's threads."""

from __future__ import annotations

import sqlite3

from starlette_webhooks.events import Event
from starlette_webhooks.named_sql import substitute
from starlette_webhooks.operations import (
    COUNTED,
    EXHAUSTED_COUNTED,
    PACED_MS,
    EndpointQuery,
    EndpointStatus,
    EventHeader,
    Overview,
    RecentEvents,
    TenantQuery,
    TenantStatus,
)
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.positions import endpoints_of, first_endpoint, first_position
from starlette_webhooks.stores.processes import count_dispatchers, forgotten, report
from starlette_webhooks.stores.rows import to_header, to_statuses
from starlette_webhooks.stores.sqlite.queries import load_queries
from starlette_webhooks.stores.sqlite.rows import to_event
from starlette_webhooks.stores.tenants import tenant_page, tenant_statement

__all__ = ["find_endpoints", "find_event", "find_tenants", "overview", "recent_events", "report_process"]

_QUERIES = load_queries("operations.sql")


def overview(connection: sqlite3.Connection, *, now: int) -> Overview:
    """See `Operations.overview`. The outbox of a host that uses SQLite is in the host's own file."""
    found = connection.execute(
        _QUERIES["overview"], {"counted": COUNTED, "now": now, "paced": now - PACED_MS}
    ).fetchone()
    waiting, failing, held, oldest_due, endpoints, endpoints_failing, endpoints_disabled = found
    (exhausted,) = connection.execute(_QUERIES["exhausted"], {"counted": EXHAUSTED_COUNTED}).fetchone()
    (size,) = connection.execute(_QUERIES["bytes"]).fetchone()
    processes = [value for (value,) in connection.execute(_QUERIES["processes"])]
    return Overview(
        now=now,
        waiting=waiting,
        failing=failing,
        exhausted=exhausted,
        held=held,
        oldest_due=oldest_due,
        endpoints=endpoints,
        endpoints_failing=endpoints_failing,
        endpoints_disabled=endpoints_disabled,
        storage_bytes=size,
        dispatchers=count_dispatchers(processes, now),
    )


def find_tenants(connection: sqlite3.Connection, *, query: TenantQuery) -> Page[TenantStatus]:
    """See `Operations.find_tenants`."""
    return tenant_page(connection.execute(*tenant_statement(_QUERIES, query)).fetchall(), query)


def find_endpoints(connection: sqlite3.Connection, *, query: EndpointQuery, now: int) -> Page[EndpointStatus]:
    """See `Operations.find_endpoints`."""
    page = substitute(_QUERIES[endpoints_of(query)], filter=_QUERIES[query.state or "any"])
    order = _QUERIES["by_urgency" if query.order == "urgency" else "by_time"]
    values = {"id": query.endpoint_id, "tenant": query.tenant, "now": now, "limit": query.limit + 1}
    statement = substitute(_QUERIES["statuses"], page=page, order=order)
    rows = connection.execute(statement, {**values, **first_endpoint(query)}).fetchall()
    return to_statuses([row[1:] for row in rows], query, now=now)


def find_event(connection: sqlite3.Connection, *, identifier: str) -> Event | None:
    """See `Operations.find_event`."""
    row = connection.execute(_QUERIES["event"], {"id": identifier}).fetchone()
    return None if row is None else to_event(row)


def recent_events(connection: sqlite3.Connection, *, query: RecentEvents) -> Page[EventHeader]:
    """See `Operations.recent_events`."""
    values = {"before": first_position(query.cursor), "limit": query.limit + 1}
    rows = connection.execute(_QUERIES["recent"], values).fetchall()
    done = len(rows) <= query.limit
    items = [to_header(row) for row in rows[: query.limit]]
    return Page(items, None if done else str(rows[query.limit - 1][0]), done)


def report_process(connection: sqlite3.Connection, *, name: str, now: int) -> None:
    """See `Operations.report_process`."""
    values = {"name": name, "value": report(now), "forgotten": forgotten(now)}
    connection.execute(_QUERIES["forget"], values)
    connection.execute(_QUERIES["report"], values)
