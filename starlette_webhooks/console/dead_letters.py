"""Dead letters: events that were refused on their way into the log or to Svix, with redrive and discard."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from starlette_webhooks.console.html import Child, Markup, tag
from starlette_webhooks.console.layout import page
from starlette_webhooks.console.notices import find_done, lead_to
from starlette_webhooks.console.parts import (
    blank,
    button,
    counted,
    field,
    filters,
    link_button,
    moment,
    notice,
    post,
    table,
)
from starlette_webhooks.console.visit import Visit
from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.exceptions import InvalidRequest

__all__ = ["confirm_discard", "confirm_redrive", "discard", "redrive", "show_dead_letters"]

_LIMIT = 100
_HEADS = (("Event", ""), ("Tenant", "middle"), ("Reason", ""), ("Time", "fit wide"))


async def show_dead_letters(visit: Visit) -> Response:
    """List dead letters, oldest first."""
    tenant = visit.query("tenant")
    found = await visit.dead_letters.list(tenant=tenant or None, limit=_LIMIT)
    changes = not visit.operator.read_only
    heads = (*_HEADS, ("Action", "fit")) if changes else _HEADS
    rows = [_row(visit, one, changes=changes) for one in found]
    all_of_them = None
    if found and changes:
        all_of_them = link_button("Redrive all…", visit.link("dead-letters", "redrive", tenant=tenant), "primary")
    return page(
        visit,
        "Dead letters",
        _done(await find_done(visit)),
        filters(visit.link("dead-letters"), field("Tenant", "tenant", tenant)),
        table("Dead letters", heads, rows) if rows else blank("No dead letters", "No event was refused."),
        tag("p", f"Only the oldest {_LIMIT} are shown.", class_="note") if len(found) == _LIMIT else None,
        lead="Events that were refused permanently. Fix the cause, then redrive them. They hold up nothing else.",
        actions=all_of_them,
    )


def _row(visit: Visit, one: DeadLetter, *, changes: bool) -> Sequence[Child]:
    name = "Not a valid event" if one.event is None else one.event.type
    identifier = one.id if one.event is None else one.event.event_id
    cells: list[Child] = [
        [tag("span", name, class_="strong break"), tag("div", tag("span", identifier, class_="mono"), class_="under")],
        tag("a", one.tenant, href=visit.link("dead-letters", tenant=one.tenant), class_="break"),
        [tag("span", one.code, class_="mono break"), tag("div", one.detail, class_="under")],
        moment(one.dead_lettered_at),
    ]
    if changes:
        again = post(visit.link("dead-letters", "redrive"), button("Redrive", small=True), id=one.id, tenant=one.tenant)
        drop = link_button("Discard…", visit.link("dead-letters", "discard", id=one.id, tenant=one.tenant), small=True)
        cells.append(tag("div", again, drop, class_="actions"))
    return cells


def _done(done: tuple[str, int] | None) -> Child:
    if done is None:
        return None
    what, count = done
    if not count:
        return notice("warn", "Nothing was changed: there are no such dead letters any more.")
    return notice("good", f"{counted(count, 'event')} {what}.")


async def confirm_redrive(visit: Visit) -> Response:
    """Ask before all dead letters are queued again."""
    tenant = visit.query("tenant")
    whose = f"of {tenant}" if tenant else "of all tenants"
    text = f"All dead letters {whose} are queued again, in their order. What is refused again comes back here."
    ask = post(visit.link("dead-letters", "redrive"), _choice(visit, "Redrive all", "primary"), tenant=tenant)
    return _ask(visit, f"Redrive all dead letters {whose}?", text, ask)


async def confirm_discard(visit: Visit) -> Response:
    """Ask before a dead letter is deleted."""
    identifier, tenant = visit.query("id"), visit.query("tenant")
    text = f"Nobody will ever receive it, and it cannot be restored. Its id is {identifier}."
    action = _choice(visit, "Discard forever", "danger")
    ask = post(visit.link("dead-letters", "discard"), action, id=identifier, tenant=tenant)
    return _ask(visit, "Discard this event?", text, ask)


def _choice(visit: Visit, label: str, kind: str) -> Markup:
    return tag("div", button(label, kind), link_button("Cancel", visit.link("dead-letters")), class_="actions")


def _ask(visit: Visit, title: str, text: str, form: Markup) -> Response:
    above = ("Dead letters", visit.link("dead-letters"))
    return page(visit, title, tag("section", tag("p", text), form, class_="card"), above=above)


async def redrive(visit: Visit) -> Response:
    """Queue one dead letter again, or all of a tenant, or all."""
    identifier, tenant = visit.form.get("id"), visit.form.get("tenant") or None
    count = await visit.dead_letters.redrive(tenant, ids=[identifier] if identifier else None)
    return await lead_to(visit, "dead-letters", done="queued again", count=count)


async def discard(visit: Visit) -> Response:
    """Delete a dead letter."""
    identifier = visit.form.get("id")
    if not identifier:
        raise InvalidRequest("The form does not name a dead letter.")
    count = await visit.dead_letters.discard([identifier])
    return await lead_to(visit, "dead-letters", done="discarded", count=count)
