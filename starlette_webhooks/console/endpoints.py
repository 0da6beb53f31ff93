"""Endpoints of all tenants. Those that need attention come first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, get_args

from starlette.responses import Response

from starlette_webhooks.console.attempts import answer, shown_url, tenant_link
from starlette_webhooks.console.html import Child, Markup, tag
from starlette_webhooks.console.layout import page
from starlette_webhooks.console.parts import at_most, blank, field, filters, moment, pager, pill, select, table
from starlette_webhooks.console.visit import Visit
from starlette_webhooks.exceptions import InvalidRequest
from starlette_webhooks.operations import EndpointQuery, EndpointState, EndpointStatus

__all__ = ["REASONS", "WAITING", "show_endpoints", "state_pill"]

_LIMIT = 50
WAITING = 1000
"""The maximum that waiting deliveries of an endpoint are counted to."""
_ORDER: tuple[EndpointState, ...] = ("failing", "disabled", "ok")
_STATES = (("", "Any state"), ("failing", "Failing"), ("disabled", "Disabled"), ("ok", "OK"))
REASONS = {
    "gone": "Its server answered 410 Gone.",
    "failing": "Every delivery failed for days.",
    "manual": "Someone disabled it.",
}
"""Why an endpoint is disabled."""


async def show_endpoints(visit: Visit) -> Response:
    """List endpoints: failing ones first, then disabled ones, then the others. Each group is newest first."""
    tenant, state = visit.query("tenant"), visit.query("state")
    if state and state not in get_args(EndpointState):
        raise InvalidRequest("There is no such state.")
    tools = filters(
        visit.link("endpoints"), field("Tenant", "tenant", tenant), select("State", "state", _STATES, state)
    )
    found, cursor = await _find(visit, tenant or None, cast(EndpointState, state) if state else None)
    heads = (
        ("Endpoint", ""),
        ("Tenant", "middle"),
        ("State", "fit"),
        ("Waiting", "number wide"),
        ("Last failure", "wide"),
    )
    rows = [_row(visit, one) for one in found]
    listed = table("Endpoints", heads, rows) if rows else blank("No endpoints", "No endpoints match these filters.")
    following = cursor and visit.link("endpoints", tenant=tenant, state=state, cursor=cursor)
    return page(visit, "Endpoints", tools, listed, pager(following), lead="Those that need attention come first.")


async def _find(
    visit: Visit, tenant: str | None, state: EndpointState | None
) -> tuple[Sequence[EndpointStatus], str | None]:
    """Return a page over the groups of `_ORDER`, and its next cursor: a group, and an endpoint in it or nothing."""
    group, _, after = visit.query("cursor").partition(".")
    groups: Sequence[EndpointState] = _ORDER if state is None else (state,)
    if group in groups:
        groups = groups[groups.index(group) :]
    found: list[EndpointStatus] = []
    for one in groups:
        if len(found) == _LIMIT:
            return found, f"{one}."
        query = EndpointQuery(tenant=tenant, state=one, limit=_LIMIT - len(found), cursor=after or None)
        listed = await visit.backend.find_endpoints(query)
        found, after = [*found, *listed.items], ""
        if not listed.done:
            return found, f"{one}.{listed.next_cursor}"
    return found, None


def _row(visit: Visit, one: EndpointStatus) -> list[Child]:
    endpoint = one.endpoint
    link = tag("a", shown_url(endpoint.url), href=visit.link("endpoints", endpoint.id), class_="strong break")
    note = tag("div", tag("span", endpoint.id, class_="mono break"), class_="under")
    failed = [answer(one.status_code, one.error), " ", moment(one.last_failure_at, ago=True)]
    return [
        [link, note],
        tenant_link(visit, endpoint.tenant),
        state_pill(one),
        at_most(one.waiting, WAITING),
        failed if one.last_failure_at is not None else tag("span", "None", class_="faint"),
    ]


def state_pill(one: EndpointStatus) -> Markup:
    """Return the state of an endpoint in one word."""
    if one.endpoint.disabled:
        reason = one.endpoint.disabled_reason
        return pill("quiet" if reason == "manual" else "bad", "Disabled", REASONS.get(reason or ""))
    if one.failing_since is not None:
        return pill("bad", "Failing")
    return pill("warn", "Paused") if one.paused_until is not None else pill("good", "OK")
