"""Figures, endpoints and events over all tenants."""

from __future__ import annotations

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
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.postgresql.rows import to_event
from starlette_webhooks.stores.processes import count_dispatchers, forgotten, report
from starlette_webhooks.stores.rows import to_header, to_statuses
from starlette_webhooks.stores.tenants import tenant_page, tenant_statement

__all__ = ["find_endpoints", "find_event", "find_tenants", "overview", "recent_events", "report_process"]

_FILE = "operations.sql"


async def overview(database: Database, *, now: int) -> Overview:
    """See `Operations.overview`."""
    values = {
        "counted": COUNTED,
        "exhausted": EXHAUSTED_COUNTED,
        "now": now,
        "paced": now - PACED_MS,
        "schema": database.schema,
    }
    ((*found, processes),) = await database.call(database.queries(_FILE)["overview"], values)
    waiting, failing, held, oldest_due, endpoints, endpoints_failing, endpoints_disabled, *rest = found
    exhausted, outbox_waiting, outbox_oldest, dead_lettered, size = rest
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
        outbox_waiting=outbox_waiting,
        outbox_oldest=outbox_oldest,
        dead_lettered=dead_lettered,
        storage_bytes=size,
        dispatchers=count_dispatchers([bytes(value) for value in processes], now),
    )


async def find_tenants(database: Database, query: TenantQuery) -> Page[TenantStatus]:
    """See `Operations.find_tenants`."""
    return tenant_page(await database.call(*tenant_statement(database.queries(_FILE), query)), query)


async def find_endpoints(database: Database, query: EndpointQuery, *, now: int) -> Page[EndpointStatus]:
    """See `Operations.find_endpoints`."""
    queries = database.queries(_FILE)
    page = substitute(queries[endpoints_of(query)], filter=queries[query.state or "any"])
    order = queries["by_urgency" if query.order == "urgency" else "by_time"]
    values = {"id": query.endpoint_id, "tenant": query.tenant, "now": now, "limit": query.limit + 1}
    statement = substitute(queries["statuses"], page=page, order=order)
    return to_statuses(await database.call(statement, {**values, **first_endpoint(query)}), query, now=now)


async def find_event(database: Database, identifier: str) -> Event | None:
    """See `Operations.find_event`."""
    rows = await database.call(database.queries(_FILE)["event"], {"id": identifier})
    return to_event(rows[0]) if rows else None


async def recent_events(database: Database, query: RecentEvents) -> Page[EventHeader]:
    """See `Operations.recent_events`."""
    values = {"before": first_position(query.cursor), "limit": query.limit + 1}
    rows = await database.call(database.queries(_FILE)["recent"], values)
    done = len(rows) <= query.limit
    items = [to_header(row) for row in rows[: query.limit]]
    return Page(items, None if done else str(rows[query.limit - 1][0]), done)


async def report_process(database: Database, name: str, *, now: int) -> None:
    """See `Operations.report_process`."""
    values = {"name": name, "value": report(now), "forgotten": forgotten(now)}
    await database.call(database.queries(_FILE)["report"], values)
