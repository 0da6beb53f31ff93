"""Tenants and how their endpoints are doing. Those with failing endpoints come first."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from starlette_webhooks.console.html import Child, Markup, tag
from starlette_webhooks.console.layout import page
from starlette_webhooks.console.parts import at_most, blank, field, filters, moment, pager, pill, table
from starlette_webhooks.console.visit import Visit
from starlette_webhooks.operations import TenantQuery, TenantStatus

__all__ = ["show_tenants"]

_HEADS = (
    ("Tenant", ""),
    ("State", "fit"),
    ("Endpoints", "number wide"),
    ("Waiting", "number"),
    ("Last event", "fit middle"),
    ("More", "fit wide"),
)
_WAITING = 1000


async def show_tenants(visit: Visit) -> Response:
    """List tenants by name. The first page begins with those that have failing endpoints."""
    start, cursor = visit.query("tenant"), visit.query("cursor")
    search = filters(visit.link("tenants"), field("Name starts with", "tenant", start))
    found = await visit.backend.find_tenants(TenantQuery(starts_with=start, cursor=cursor or None))
    content: list[Child] = [search]
    if not cursor:
        failing = await visit.backend.find_tenants(TenantQuery(starts_with=start, failing=True))
        if failing.items:
            more = None if failing.done else tag("p", "There are more. Search for a name to see them.", class_="note")
            content += [
                tag("h2", "With failing endpoints"),
                _table(visit, "With failing endpoints", failing.items),
                more,
            ]
            content.append(tag("h2", "All tenants"))
    if found.items:
        content.append(_table(visit, "Tenants", found.items))
    else:
        content.append(blank("No tenants", "No tenant with endpoints or events has such a name."))
    content.append(pager(found.next_cursor and visit.link("tenants", tenant=start, cursor=found.next_cursor)))
    return page(visit, "Tenants", content, lead="Everyone who has endpoints or events.")


def _table(visit: Visit, label: str, tenants: Sequence[TenantStatus]) -> Markup:
    return table(label, _HEADS, [_row(visit, one) for one in tenants])


def _row(visit: Visit, one: TenantStatus) -> list[Child]:
    name = one.tenant
    links = [
        tag("a", "Events", href=visit.link("events", tenant=name)),
        " · ",
        tag("a", "Undelivered", href=visit.link("undelivered", tenant=name)),
    ]
    return [
        tag("a", name, href=visit.link("endpoints", tenant=name), class_="strong break"),
        _state(one),
        f"{one.endpoints:,}",
        at_most(one.waiting, _WAITING),
        moment(one.last_event_at, ago=True) or tag("span", "None", class_="faint"),
        links,
    ]


def _state(one: TenantStatus) -> Markup:
    if one.endpoints_failing:
        return pill("bad", f"{one.endpoints_failing:,} failing")
    if one.endpoints_disabled:
        return pill("warn", f"{one.endpoints_disabled:,} disabled")
    return pill("good", "OK") if one.endpoints else pill("quiet", "No endpoints")
