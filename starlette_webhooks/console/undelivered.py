"""What no endpoint has confirmed, over all tenants, and its retry: count, confirm, retry in the background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from starlette.responses import Response

from starlette_webhooks.console.attempts import (
    STATES as DELIVERY_STATES,
    delivery_pill,
    event_link,
    last_answer,
    shown_url,
    tenant_link,
)
from starlette_webhooks.console.html import Child, Markup, tag
from starlette_webhooks.console.layout import page
from starlette_webhooks.console.parts import (
    blank,
    button,
    counted,
    field,
    filters,
    link_button,
    moment,
    notice,
    pager,
    post,
    select,
    table,
)
from starlette_webhooks.console.retries import start_retry
from starlette_webhooks.console.visit import Visit
from starlette_webhooks.exceptions import InvalidRequest
from starlette_webhooks.operations import COUNTED
from starlette_webhooks.times import parse_time
from starlette_webhooks.undelivered import STATES, Undelivered, UndeliveredCount, UndeliveredQuery, UndeliveredState

__all__ = ["confirm_retry", "retry", "show_undelivered"]

_FILTERS = ("tenant", "endpoint", "type", "state", "answer", "after", "before")
_STATES = (("", "Any state"), *((state, DELIVERY_STATES[state][1]) for state in STATES))
_ANSWERS = (("", "Any answer"), ("0", "No response"), ("3", "3xx"), ("4", "4xx"), ("5", "5xx"))
_COUNT_SECONDS = 2.0


async def show_undelivered(visit: Visit) -> Response:
    """List undelivered deliveries by endpoint, then by state, then newest event first."""
    chosen = {name: visit.query(name) for name in _FILTERS}
    query = replace(_to_query(chosen), cursor=visit.query("cursor") or None)
    found = await visit.backend.find_undelivered(query)
    rows = [_row(visit, one) for one in found.items]
    heads = (
        ("State", "fit"),
        ("Event", ""),
        ("Tenant", "middle"),
        ("Endpoint and last answer", ""),
        ("Next attempt", "fit wide"),
    )
    listed: Child = table("Undelivered", heads, rows) if rows else None
    if not rows:
        # One page looks at a limited number of deliveries.
        text = "Nothing on this page matches. Look at the next one." if not found.done else "Nothing matches."
        listed = blank("Nothing undelivered here", text)
    following = found.next_cursor and visit.link("undelivered", **chosen, cursor=found.next_cursor)
    retry_link = None
    if rows and not visit.operator.read_only:
        retry_link = link_button("Retry all of these…", visit.link("undelivered", "retry", **chosen), "primary")
    return page(
        visit,
        "Undelivered",
        _tools(visit, chosen),
        listed,
        pager(following),
        lead="What no endpoint has confirmed yet. Test events are left out.",
        actions=retry_link,
    )


def _tools(visit: Visit, chosen: Mapping[str, str]) -> Markup:
    return filters(
        visit.link("undelivered"),
        field("Tenant", "tenant", chosen["tenant"]),
        field("Endpoint", "endpoint", chosen["endpoint"], placeholder="ep_…"),
        field("Event type", "type", chosen["type"]),
        select("State", "state", _STATES, chosen["state"]),
        select("Answer", "answer", _ANSWERS, chosen["answer"]),
        field("From (UTC)", "after", chosen["after"], type="datetime-local"),
        field("Until (UTC)", "before", chosen["before"], type="datetime-local"),
    )


def _row(visit: Visit, one: Undelivered) -> list[Child]:
    endpoint = tag("a", shown_url(one.url), href=visit.link("endpoints", one.endpoint_id), class_="break")
    return [
        delivery_pill(one.state, disabled=one.endpoint_disabled),
        event_link(visit, one.event_id, one.event_type),
        tenant_link(visit, one.tenant),
        [endpoint, tag("div", last_answer(one), class_="under")],
        moment(one.next_attempt_at, ago=True) or tag("span", "None", class_="faint"),
    ]


def _to_query(chosen: Mapping[str, str]) -> UndeliveredQuery:
    state, code = chosen["state"], chosen["answer"]
    if state and state not in STATES:
        raise InvalidRequest("There is no such state.")
    if code and code not in dict(_ANSWERS):
        raise InvalidRequest("There is no such class of answers.")
    return UndeliveredQuery(
        tenant=chosen["tenant"] or None,
        endpoint_id=chosen["endpoint"] or None,
        event_types=(chosen["type"],) if chosen["type"] else (),
        states=(state,) if state else (),
        status_code_class=int(code) if code else None,
        after=_time(chosen["after"]),
        before=_time(chosen["before"]),
    )


def _time(text: str) -> datetime | None:
    """Parse the value of a field for a local time, which has no zone: it is in UTC."""
    if not text:
        return None
    try:
        return parse_time(f"{text}:00Z" if len(text) == len("2026-11-26T08:00") else f"{text}Z")
    except ValueError as exc:
        raise InvalidRequest(f"The time {exc}.") from exc


def _to_retry(chosen: Mapping[str, str]) -> UndeliveredQuery:
    query = _to_query(chosen)
    # Deliveries that wait for their first attempt need no retry.
    states: tuple[UndeliveredState, ...] = ("exhausted", "failing")
    return replace(query, states=tuple(state for state in query.states or states if state in states))


async def confirm_retry(visit: Visit) -> Response:
    """Count what the filters match, and ask."""
    chosen = {name: visit.query(name) for name in _FILTERS}
    query = _to_retry(chosen)
    count = UndeliveredCount(0, exact=True)
    if query.states:
        count = await visit.backend.count_undelivered(query, most=COUNTED, within=_COUNT_SECONDS)
    back = visit.link("undelivered", **chosen)
    above = ("Undelivered", back)
    if not count.count and count.exact:
        text = "Nothing to retry. Deliveries that wait for their first attempt need no retry."
        return page(visit, "Retry", notice("warn", text), above=above)
    many = counted(count.count, "delivery", "deliveries")
    title = f"Retry {many}?" if count.exact else f"Retry {many} or more?"
    ask = tag(
        "section",
        tag("p", "They are sent again in the background, to endpoints that have not confirmed them."),
        tag("p", "Deliveries to disabled endpoints are left out.", class_="note"),
        _summary(chosen),
        post(
            visit.link("undelivered", "retry"),
            tag("div", button("Retry now", "primary"), link_button("Cancel", back), class_="actions"),
            **chosen,
            count=str(count.count),
        ),
        class_="card",
    )
    return page(visit, title, ask, above=above)


def _summary(chosen: Mapping[str, str]) -> Markup:
    given = [tag("span", f"{name}: {value}", class_="chip") for name, value in chosen.items() if value]
    return tag("p", given or tag("span", "All tenants and endpoints", class_="chip"), class_="chips")


async def retry(visit: Visit) -> Response:
    """Retry what the filters match, in the background."""
    chosen = {name: visit.form.get(name, "").strip() for name in _FILTERS}
    query = _to_retry(chosen)
    if not query.states:
        raise InvalidRequest("Deliveries that wait for their first attempt need no retry.")
    # What the backend cannot do, or cannot do at the moment, is refused now rather than in the background.
    await visit.backend.find_undelivered(replace(query, limit=1))
    counts = visit.form.get("count", "")
    identifier = await start_retry(visit, query, total=int(counts) if counts.isdecimal() and len(counts) < 9 else 0)
    details = {name: value for name, value in chosen.items() if value and name != "tenant"}
    visit.record("deliveries.retried", chosen["tenant"], **details)
    return visit.redirect("retries", identifier)
