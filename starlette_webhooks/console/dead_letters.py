"""Dead letters: events that were refused on their way into the log or to Svix, with redrive and discard."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from starlette.responses import Response

from starlette_webhooks.audit import Action
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
    post,
    table,
)
from starlette_webhooks.console.visit import Visit
from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.exceptions import InvalidRequest

__all__ = ["confirm_discard", "confirm_redrive", "discard", "redrive", "show_dead_letters"]

_LIMIT = 100
_HEADS = (("Event", ""), ("Tenant", "middle"), ("Reason", ""), ("Time", "fit wide"))


class _Change(Protocol):
    async def __call__(self, *, ids: Collection[str]) -> int: ...


async def show_dead_letters(visit: Visit) -> Response:
    """List dead letters, oldest first."""
    tenant = visit.query("tenant")
    found = await visit.host.dead_letters(tenant=tenant or None, limit=_LIMIT)
    changes = not visit.operator.read_only
    heads = (*_HEADS, ("Action", "fit")) if changes else _HEADS
    rows = [_row(visit, one, changes=changes) for one in found]
    all_of_them = None
    if found and changes:
        all_of_them = link_button("Redrive all…", visit.link("dead-letters", "redrive", tenant=tenant), "primary")
    return page(
        visit,
        "Dead letters",
        _done(visit),
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


def _done(visit: Visit) -> Child:
    count, what = visit.query("count"), visit.query("done")
    if not count.isdecimal() or len(count) > 9 or what not in ("redriven", "discarded"):
        return None
    events = counted(int(count), "event")
    return notice("good", f"{events} {'queued again' if what == 'redriven' else 'discarded'}.")


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
    if visit.form.get("id"):
        count = await _change_one(visit, visit.host.redrive_dead_letters, "dead_letters.redriven")
        return visit.redirect("dead-letters", done="redriven", count=str(count))
    tenant = visit.form.get("tenant", "")
    count = await visit.host.redrive_dead_letters(tenant or None)
    if count:
        visit.record("dead_letters.redriven", tenant, count=str(count))
    return visit.redirect("dead-letters", done="redriven", count=str(count))


async def discard(visit: Visit) -> Response:
    """Delete a dead letter."""
    if not visit.form.get("id"):
        raise InvalidRequest("The form does not name a dead letter.")
    count = await _change_one(visit, visit.host.discard_dead_letters, "dead_letters.discarded")
    return visit.redirect("dead-letters", done="discarded", count=str(count))


async def _change_one(visit: Visit, change: _Change, action: Action) -> int:
    """Change the dead letter that a form names, and record it. Returns 0 if it is no longer there."""
    letter = await _find(visit)
    count = 0 if letter is None else await change(ids=[letter.id])
    if letter is not None and count:
        visit.record(action, letter.tenant, ids=[letter.id])
    return count


async def _find(visit: Visit) -> DeadLetter | None:
    # The form says which page it was on. Only the store knows the tenant, and the audit log must name the right one.
    found = await visit.host.dead_letters(tenant=visit.form.get("tenant") or None, limit=_LIMIT)
    return next((letter for letter in found if letter.id == visit.form["id"]), None)
