"""Events of all tenants or of one, newest first."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from starlette_webhooks.console.attempts import event_link, tenant_link
from starlette_webhooks.console.html import Child
from starlette_webhooks.console.layout import page
from starlette_webhooks.console.parts import blank, field, filters, moment, pager, pill, table
from starlette_webhooks.console.visit import Visit
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.operations import EventHeader, RecentEvents
from starlette_webhooks.pagination import Page

__all__ = ["show_events"]

_HEADS = (("Event", ""), ("Tenant", "middle"), ("Time", "fit"))


async def show_events(visit: Visit) -> Response:
    """List events without their payloads, or find one by its id."""
    identifier, tenant = visit.query("id"), visit.query("tenant")
    if identifier:
        return visit.redirect("events", identifier)
    tools = filters(
        visit.link("events"),
        field("Event id", "id", "", placeholder="msg_…"),
        field("Tenant", "tenant", tenant),
    )
    found = await _find(visit, tenant)
    rows = [_row(visit, one) for one in found.items]
    listed = table("Events", _HEADS, rows) if rows else blank("No events", "There are none, or they are too old.")
    following = found.next_cursor and visit.link("events", tenant=tenant, cursor=found.next_cursor)
    lead = "Of all tenants, in order of commits." if not tenant else f"Of {tenant}."
    return page(visit, "Events", tools, listed, pager(following), lead=lead)


async def _find(visit: Visit, tenant: str) -> Page[Event] | Page[EventHeader]:
    cursor = visit.query("cursor") or None
    if tenant:
        return await visit.backend.list_events(tenant, EventQuery(cursor=cursor))
    return await visit.backend.recent_events(RecentEvents(cursor=cursor))


def _row(visit: Visit, one: Event | EventHeader) -> Sequence[Child]:
    mark = [" ", pill("quiet", "Test")] if one.test else None
    return [
        [event_link(visit, one.id, one.type), mark],
        tenant_link(visit, one.tenant),
        moment(one.timestamp),
    ]
