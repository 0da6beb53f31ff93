"""The overview: what is wrong, at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from starlette.responses import Response

from starlette_webhooks.console.html import Child, Markup, tag
from starlette_webhooks.console.layout import page
from starlette_webhooks.console.parts import at_most, card, counted, duration, facts, notice, pill, table
from starlette_webhooks.console.visit import Visit
from starlette_webhooks.health import DatabaseHealth, Health, Reason
from starlette_webhooks.operations import EXHAUSTED_COUNTED

__all__ = ["show_overview"]

_STATUS = {"ok": ("good", "OK"), "degraded": ("warn", "Degraded"), "stopped": ("bad", "Stopped")}
_REASONS: Mapping[Reason, str] = {
    "stopped": "The backend of this process does not run. Restart the process.",
    "dispatcher": "The dispatcher of this process has stood still for longer than WEBHOOKS_ALIVE_DISPATCHER_AGE.",
    "draining": "This process is ending its streams.",
    "database": "The database is unavailable.",
    "backlog": "Deliveries are later than WEBHOOKS_READY_BACKLOG_AGE allows.",
    "outbox": "Events wait longer in the outbox than WEBHOOKS_READY_OUTBOX_AGE allows.",
    "dead_letters": "There are as many dead letters as WEBHOOKS_READY_DEAD_LETTERS allows, or more.",
}
_MEBIBYTE = 1_048_576


async def show_overview(visit: Visit) -> Response:
    """Show the figures of `health()`."""
    health = await visit.host.fresh_health()
    kind, label = _STATUS[health["status"]]
    content = [_problems(health), _deliveries(visit, health), _queues(visit, health), _process(health), _errors(health)]
    return page(visit, "Overview", content, lead=_age(health), actions=pill(kind, label), live=True)


def _age(health: Health) -> str:
    backend = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "svix": "Svix"}.get(health["backend"], health["backend"])
    age = health.get("figuresAgeSeconds")
    return f"On {backend}." if age is None else f"On {backend}. The figures are {age:.1f} seconds old."


def _problems(health: Health) -> Child:
    found = [_REASONS[reason] for reason in health.get("reasons", [])]
    if "error" in health:
        found.append(health["error"])
    parts = cast("Mapping[str, Mapping[str, Any]]", health)
    places = ("database", "svix", "outbox", "hostOutbox", "dispatchers")
    problems = [parts[place].get("problem") for place in places if place in parts]
    found += dict.fromkeys(str(problem) for problem in problems if problem)
    if health["status"] == "stopped":
        return notice("bad", [tag("p", text) for text in found])
    return notice("warn", [tag("p", text) for text in found]) if found else None


def _tile(name: str, value: Child, url: str | None = None, *, bad: bool = False) -> Markup:
    shown = value if url is None else tag("a", value, href=url)
    return tag("div", tag("dt", name), tag("dd", shown), class_="tile bad" if bad else "tile")


def _deliveries(visit: Visit, health: Health) -> Child:
    found, endpoints = health.get("deliveries"), health.get("endpoints")
    if found is None or endpoints is None:
        return None
    late = found["oldestDueSeconds"]
    exhausted = at_most(found["exhausted"], EXHAUSTED_COUNTED)
    failing, disabled = endpoints["failing"], endpoints["disabled"]
    tiles = [
        _tile("Failing endpoints", at_most(failing), visit.link("endpoints", state="failing"), bad=failing > 0),
        _tile("Disabled endpoints", at_most(disabled), visit.link("endpoints", state="disabled")),
        _tile("Endpoints", at_most(endpoints["total"]), visit.link("endpoints")),
        _tile("Waiting", at_most(found["waiting"]), visit.link("undelivered")),
        _tile("Oldest due", f"{duration(late)} late" if late >= 1 else "On time"),
        _tile("Retrying", at_most(found["failing"]), visit.link("undelivered", state="failing")),
        _tile("Given up", exhausted, visit.link("undelivered", state="exhausted"), bad=found["exhausted"] > 0),
        _tile("Held for disabled endpoints", at_most(found["held"])),
    ]
    return card("Deliveries", tag("dl", tiles, class_="tiles"))


def _queues(visit: Visit, health: Health) -> Child:
    tiles: list[Markup] = []
    outboxes = [("Outbox", health.get("outbox")), ("Outbox of the app", health.get("hostOutbox"))]
    dead, known = 0, False
    for name, outbox in outboxes:
        if outbox is not None and "waiting" in outbox:
            oldest = outbox["oldestSeconds"]
            age = f", the oldest for {duration(oldest)}" if outbox["waiting"] else ""
            tiles.append(_tile(name, f"{at_most(outbox['waiting'])} waiting{age}"))
            dead, known = dead + outbox["deadLettered"], True
    if known:
        tiles.append(_tile("Dead letters", at_most(dead), visit.link("dead-letters"), bad=dead > 0))
    relay = health.get("relay")
    if relay is not None:
        place = "in this process" if relay["here"] else "in another process"
        tiles.append(_tile("Relay", f"Waits for Svix, {place}" if relay["stalled"] else f"Runs {place}"))
    return card("Queues", tag("dl", tiles, class_="tiles")) if tiles else None


def _process(health: Health) -> Markup:
    dispatchers, streams, storage = health.get("dispatchers"), health.get("streams"), health.get("storage")
    database, svix = health.get("database"), health.get("svix")
    pairs: list[tuple[str, Child] | None] = [
        None if dispatchers is None else ("Dispatcher", _dispatcher(dispatchers["here"], dispatchers["busy"])),
        None
        if dispatchers is None or "alive" not in dispatchers
        else ("Processes that deliver", str(dispatchers["alive"])),
        None if streams is None else ("Streams of this process", f"{streams['streams']:,}"),
        None if streams is None else ("Slow readers", f"{streams['stalled']:,} stalled, {streams['lagged']:,} lagged"),
        None if storage is None else ("Storage", f"{storage['bytes'] / _MEBIBYTE:,.1f} MiB"),
        None if database is None else ("Database", _database(database)),
        None if svix is None else ("Svix", f"{svix['server']}{'' if svix['answered'] else ' (has not answered yet)'}"),
    ]
    return card("Processes and storage", facts(pairs))


def _dispatcher(here: bool, busy: int) -> str:
    return f"Here, {counted(busy, 'attempt')} running" if here else "Not in this process"


def _database(found: DatabaseHealth) -> str:
    if "sqlite" in found:
        return f"SQLite {found['sqlite']}"
    if "postgresql" in found:
        return f"PostgreSQL {found['postgresql']}, {found.get('server', '')}, schema {found.get('schema', '')}"
    return "Unknown"  # pragma: no cover  A backend of a host.


def _errors(health: Health) -> Child:
    errors = health.get("lastErrors", [])
    if not errors:
        return None
    heads = (("Time", "fit"), ("Last warnings and errors of this process", ""))
    rows = [
        (tag("time", f"{one['at'][:10]} {one['at'][11:19]}", datetime=one["at"]), one["message"])
        for one in reversed(errors)
    ]
    return table("Last warnings and errors", heads, rows)
