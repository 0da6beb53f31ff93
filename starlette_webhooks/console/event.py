"""One event of any tenant with its attempts. Its payload is shown on request only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from anyio import to_thread
from starlette.responses import Response

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.console.attempts import (
    UNSENT,
    attempt_pill,
    delivery_pill,
    last_answer,
    shown_url,
    tenant_link,
)
from starlette_webhooks.console.html import Child, Markup, tag
from starlette_webhooks.console.layout import page
from starlette_webhooks.console.parts import (
    blank,
    button,
    card,
    counted,
    facts,
    link_button,
    moment,
    pill,
    post,
    table,
)
from starlette_webhooks.console.visit import Visit
from starlette_webhooks.event_states import EventDelivery
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import NotFound

__all__ = ["show_event", "show_payload"]

_ATTEMPTS = 250
_ENDPOINTS = 250
_SHOWN = 100_000
_MANY_ENDPOINTS = f"Of endpoints without attempts, only the newest {_ENDPOINTS} are shown."


async def show_event(visit: Visit) -> Response:
    """Show an event without its payload."""
    return await _show(visit, await _event(visit), whole=False)


async def show_payload(visit: Visit) -> Response:
    """Show an event with its payload and with what receivers answered, and record that."""
    event = await _event(visit)
    visit.record("payload.read", event.tenant, event=event.id)
    return await _show(visit, event, whole=True)


async def _event(visit: Visit) -> Event:
    event = await visit.backend.find_event(visit.params[0])
    if event is None:
        raise NotFound("There is no such event, or it is no longer stored.")
    return event


async def _show(visit: Visit, event: Event, *, whole: bool) -> Response:
    found = await visit.backend.list_attempts(event.tenant, AttemptQuery(event_id=event.id, limit=_ATTEMPTS))
    states = await visit.backend.event_deliveries(event.tenant, event.id, limit=_ENDPOINTS)
    # It may take a second for the largest payloads.
    payload = await to_thread.run_sync(_shown_payload, event.payload) if whole else _hidden_payload(visit, event)
    return page(
        visit,
        event.type,
        card("Event", facts(_facts(visit, event))),
        card("Payload", payload),
        tag("h2", "Deliveries"),
        _deliveries(visit, found.items, () if states is None else states.items, whole=whole),
        None if found.done else tag("p", f"Only the last {_ATTEMPTS} attempts are shown.", class_="note"),
        None if states is None or states.done else tag("p", _MANY_ENDPOINTS, class_="note"),
        lead=[tag("span", event.id, class_="mono break"), " ", pill("quiet", "Test") if event.test else None],
        above=("Events", visit.link("events")),
        actions=link_button("Undelivered of this tenant", visit.link("undelivered", tenant=event.tenant)),
    )


def _facts(visit: Visit, event: Event) -> list[tuple[str, Child] | None]:
    return [
        ("Tenant", tenant_link(visit, event.tenant)),
        ("Time", moment(event.timestamp)),
        ("Your event id", tag("span", event.event_id, class_="mono break")),
        ("Channels", ", ".join(event.channels)) if event.channels else None,
        ("Size", counted(len(event.payload), "byte")),
    ]


def _hidden_payload(visit: Visit, event: Event) -> Child:
    return [
        tag("p", "Payloads and answers are data of your customers. Looking at them is recorded.", class_="note"),
        post(visit.link("events", event.id, "payload"), button("Show payload and answers", small=True)),
    ]


def _shown_payload(payload: bytes) -> Child:
    text = json.dumps(json.loads(payload), indent=2, ensure_ascii=False)
    cut = None
    if len(text) > _SHOWN:
        text, cut = text[:_SHOWN], tag("p", "Only the start is shown.", class_="note")
    return [tag("pre", text, class_="code-text code", tabindex="0", role="group", aria_label="Payload"), cut]


def _deliveries(visit: Visit, attempts: Sequence[Attempt], states: Iterable[EventDelivery], *, whole: bool) -> Child:
    groups: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        groups.setdefault(attempt.endpoint_id, []).append(attempt)
    others = [one for one in states if one.endpoint_id not in groups]
    waiting = [one for one in others if one.state != "unsent"]
    rest = _rest(visit, [one for one in others if one.state == "unsent"], alone=not groups and not waiting)
    if not groups and not waiting:
        return [blank("No deliveries", "No endpoint receives it." if others else "The tenant has no endpoints."), rest]
    made = [_delivery(visit, one, whole=whole) for one in groups.values()]
    return [made, [_other(visit, one) for one in waiting], rest]


def _rest(visit: Visit, unsent: Sequence[EventDelivery], *, alone: bool) -> Child:
    """Return the endpoints that do not get the event, and why. Shown at once if no endpoint gets it."""
    if not unsent:
        return None
    rows = [
        tag("li", tag("div", _endpoint_link(visit, one), tag("div", _reason(one), class_="under"))) for one in unsent
    ]
    summary = tag("summary", f"Not sent to {counted(len(unsent), 'endpoint')}")
    return tag("details", summary, tag("ul", rows), class_="rest", open=alone)


def _reason(one: EventDelivery) -> str:
    return "Not sent" if one.reason is None else UNSENT[one.reason]


def _endpoint_link(visit: Visit, one: EventDelivery) -> Markup:
    return tag("a", shown_url(one.url), href=visit.link("endpoints", one.endpoint_id), class_="strong break")


def _other(visit: Visit, one: EventDelivery) -> Markup:
    """Return a delivery without listed attempts. Most of these wait for their first one."""
    following: Child = None
    if one.running:
        following = " · one is running"
    elif one.next_attempt_at is not None and not one.endpoint_disabled:
        following = [" · next ", moment(one.next_attempt_at, ago=True)]
    head = tag("h3", _endpoint_link(visit, one), " ", delivery_pill(one.state, disabled=one.endpoint_disabled))
    return tag("article", head, tag("p", last_answer(one), following, class_="under"), class_="delivery")


def _delivery(visit: Visit, attempts: Sequence[Attempt], *, whole: bool) -> Markup:
    last = attempts[0]
    url = shown_url(last.url)
    link = tag("a", url, href=visit.link("endpoints", last.endpoint_id), class_="strong break")
    heads = (("Attempt", "fit"), ("Result", ""), ("Duration", "number wide"), ("Time", "fit"))
    rows: list[list[Child]] = [
        [
            f"#{one.number}",
            [attempt_pill(one), _answer(one, whole=whole)],
            f"{one.duration_ms:,} ms",
            moment(one.timestamp),
        ]
        for one in attempts
    ]
    head = tag("h3", link, " ", _state(last))
    return tag("article", head, table(f"Attempts to {url}", heads, rows), class_="delivery")


def _answer(attempt: Attempt, *, whole: bool) -> Child:
    if attempt.error:
        return tag("div", attempt.error, class_="under")
    if whole and attempt.response:
        return tag("pre", attempt.response, class_="code-text code answer")
    return None


def _state(last: Attempt) -> Child:
    if last.status == "success":
        return delivery_pill("delivered")
    if last.next_attempt_at is None:
        return delivery_pill("exhausted")
    return [delivery_pill("failing"), " next ", moment(last.next_attempt_at, ago=True)]
