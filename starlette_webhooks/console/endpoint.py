"""One endpoint with its attempts, and the actions on it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.console.attempts import answer, attempt_pill, event_link, shown_url, tenant_link
from starlette_webhooks.console.endpoints import REASONS, WAITING, state_pill
from starlette_webhooks.console.html import Child, Markup, tag
from starlette_webhooks.console.layout import page
from starlette_webhooks.console.notices import find_done, lead_to
from starlette_webhooks.console.parts import (
    at_most,
    blank,
    button,
    card,
    counted,
    facts,
    link_button,
    moment,
    notice,
    pager,
    post,
    table,
)
from starlette_webhooks.console.visit import Visit
from starlette_webhooks.delivery.origins import shown_origin
from starlette_webhooks.endpoints import Endpoint
from starlette_webhooks.exceptions import NotFound
from starlette_webhooks.operations import EndpointQuery, EndpointStatus

__all__ = ["disable_endpoint", "enable_endpoint", "show_endpoint"]

_DONE = {"disabled": "The endpoint is disabled. Its deliveries wait.", "enabled": "The endpoint is enabled."}


async def show_endpoint(visit: Visit) -> Response:
    """Show an endpoint with its attempts."""
    status = await _status(visit)
    endpoint = status.endpoint
    cursor = visit.query("cursor")
    attempts = await visit.backend.list_attempts(
        endpoint.tenant, AttemptQuery(endpoint_id=endpoint.id, cursor=cursor or None)
    )
    done = await find_done(visit)
    following = attempts.next_cursor and visit.link("endpoints", endpoint.id, cursor=attempts.next_cursor)
    return page(
        visit,
        shown_url(endpoint.url),
        done and notice("good", _DONE[done[0]]),
        _trouble(status),
        card("Endpoint", facts(_facts(visit, status, await _last_day(visit, endpoint)))),
        tag("h2", "Attempts"),
        _attempts(visit, attempts.items),
        pager(following),
        lead=[state_pill(status), " ", tag("span", endpoint.id, class_="mono break")],
        above=("Endpoints", visit.link("endpoints")),
        actions=_actions(visit, endpoint),
    )


async def _status(visit: Visit) -> EndpointStatus:
    found = await visit.backend.find_endpoints(EndpointQuery(endpoint_id=visit.params[0], limit=1))
    if not found.items:
        raise NotFound("There is no such endpoint.")
    return found.items[0]


async def _last_day(visit: Visit, endpoint: Endpoint) -> str:
    now = datetime.now(UTC)
    stats = await visit.backend.endpoint_stats(endpoint.tenant, endpoint.id, now - timedelta(days=1), now)
    return "Unknown" if stats is None else f"{stats.success:,} succeeded, {stats.fail:,} failed"


def _trouble(status: EndpointStatus) -> Child:
    if status.endpoint.disabled:
        reason = REASONS.get(status.endpoint.disabled_reason or "", "")
        return notice("warn", tag("strong", "Disabled. "), reason, " Deliveries that waited are held.")
    if status.failing_since is None:
        return None
    last = f". Last answer: {answer(status.status_code, status.error)}."
    return notice("bad", tag("strong", "Failing since ", moment(status.failing_since)), last)


def _facts(visit: Visit, status: EndpointStatus, last_day: str) -> list[tuple[str, Child] | None]:
    endpoint = status.endpoint
    rate = endpoint.rate_limit
    return [
        ("URL", tag("span", shown_url(endpoint.url), class_="mono break")),
        ("Tenant", tenant_link(visit, endpoint.tenant)),
        ("Waiting", at_most(status.waiting, WAITING)),
        ("Attempts of the last 24 hours", last_day),
        ("Event types", ", ".join(endpoint.event_types) or "All"),
        ("Channels", ", ".join(endpoint.channels)) if endpoint.channels else None,
        None if rate is None else ("Rate limit", f"{counted(rate, 'delivery', 'deliveries')} per second"),
        ("Paused until", moment(status.paused_until)) if status.paused_until else None,
        ("Description", endpoint.description) if endpoint.description else None,
        ("Created", moment(endpoint.created_at)),
        ("Changed", moment(endpoint.updated_at)),
    ]


def _actions(visit: Visit, endpoint: Endpoint) -> Child:
    undelivered = link_button("Undelivered", visit.link("undelivered", endpoint=endpoint.id))
    if visit.operator.read_only:
        return undelivered
    verb, kind = ("enable", "primary") if endpoint.disabled else ("disable", "danger-text")
    return [undelivered, post(visit.link("endpoints", endpoint.id, verb), button(verb.capitalize(), kind))]


def _attempts(visit: Visit, attempts: Sequence[Attempt]) -> Markup:
    if not attempts:
        return blank("No attempts", "Nothing was sent to this endpoint, or it is no longer stored.")
    heads = (("Time", "fit"), ("Result", "fit"), ("Event", ""), ("Attempt", "number wide"), ("Next", "fit middle"))
    rows: list[list[Child]] = [
        [
            moment(one.timestamp),
            [attempt_pill(one), one.error and tag("div", one.error, class_="under")],
            event_link(visit, one.event_id, one.event_type),
            f"{one.number} · {one.duration_ms:,} ms",
            moment(one.next_attempt_at, ago=True),
        ]
        for one in attempts
    ]
    return table("Attempts", heads, rows)


async def disable_endpoint(visit: Visit) -> Response:
    """Disable an endpoint."""
    return await _switch(visit, disabled=True)


async def enable_endpoint(visit: Visit) -> Response:
    """Enable an endpoint, so that what waits is delivered."""
    return await _switch(visit, disabled=False)


async def _switch(visit: Visit, *, disabled: bool) -> Response:
    backend, identifier = visit.backend, visit.params[0]
    endpoint = await (backend.disable_endpoint if disabled else backend.enable_endpoint)(identifier)
    if endpoint is None:
        raise NotFound("There is no such endpoint.")
    visit.record(
        "endpoint.changed",
        endpoint.tenant,
        endpoint=endpoint.id,
        origin=shown_origin(endpoint.url),
        fields=["disabled"],
    )
    return await lead_to(visit, "endpoints", identifier, done="disabled" if disabled else "enabled")
