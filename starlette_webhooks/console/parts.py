"""The building blocks of pages, in the classes of the portal's style sheets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from starlette_webhooks.console.html import Child, Markup, tag
from starlette_webhooks.console.icons import icon
from starlette_webhooks.events import format_time
from starlette_webhooks.operations import COUNTED

__all__ = [
    "at_most",
    "blank",
    "button",
    "card",
    "counted",
    "duration",
    "facts",
    "field",
    "filters",
    "hidden",
    "link_button",
    "moment",
    "notice",
    "pager",
    "pill",
    "post",
    "select",
    "table",
]

_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"))


def moment(time: datetime | None, *, ago: bool = False) -> Child:
    """Return a time in UTC, which the browser shows in its zone. With `ago`, as "5 minutes ago"."""
    if time is None:
        return None
    text = format_time(time)
    return tag("time", f"{text[:10]} {text[11:19]}", datetime=text, data_ago=ago)


def duration(seconds: float) -> str:
    """Return `3 minutes`, in the largest unit that fits."""
    for length, unit in _UNITS:
        if seconds >= length:
            return counted(int(seconds // length), unit)
    return counted(round(seconds), "second")


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return `1 event`, `2 events`."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"


def at_most(number: int, limit: int = COUNTED) -> str:
    """Return a number that was counted to a limit."""
    return f"{number:,} or more" if number >= limit else f"{number:,}"


def pill(kind: str, label: str, title: str | None = None) -> Markup:
    """Return a status in one word. `kind` is good, bad, warn or quiet."""
    return tag("span", label, class_=f"pill {kind}", title=title)


def notice(kind: str, *children: Child) -> Markup:
    """Return a note within a page. `kind` is good, bad or warn."""
    glyph = icon("check" if kind == "good" else "warning")
    return tag("div", glyph, tag("div", children), class_=f"notice {kind}", role="status" if kind == "good" else None)


def card(title: str, *children: Child, flush: bool = False, note: Child = None) -> Markup:
    """Return a section with a heading."""
    head = tag("div", tag("h2", title), note and tag("p", note, class_="note"), class_="card-head")
    return tag("section", head, children, class_="card flush" if flush else "card")


def facts(pairs: Iterable[tuple[str, Child] | None]) -> Markup:
    """Return names and values."""
    return tag(
        "dl",
        [tag("div", tag("dt", pair[0]), tag("dd", pair[1])) for pair in pairs if pair is not None],
        class_="facts pairs",
    )


def table(label: str, heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[Child]]) -> Markup:
    """Return a table.

    Args:
        heads: The heading and the classes of each column.
    """
    head = tag("tr", [tag("th", name, scope="col", class_=classes or None) for name, classes in heads])
    body = [
        tag("tr", [tag("td", cell, class_=heads[place][1] or None) for place, cell in enumerate(row)]) for row in rows
    ]
    inside = tag("table", tag("thead", head), tag("tbody", body), class_="table", aria_label=label)
    return tag("div", inside, class_="card flush scrolling", tabindex="0", role="region", aria_label=label)


def blank(title: str, text: str) -> Markup:
    """Return the placeholder for an empty list."""
    glyph = tag("div", icon("check"), class_="blank-icon")
    return tag("div", tag("div", glyph, tag("h2", title), tag("p", text), class_="blank"), class_="card flush")


def pager(url: str | None) -> Child:
    """Return the link to the next page, if there is one."""
    return None if url is None else tag("nav", link_button("Next page", url), class_="table-foot", aria_label="Pages")


def link_button(label: str, url: str, kind: str = "plain", *, small: bool = False) -> Markup:
    """Return a link that looks like a button."""
    return tag("a", tag("span", label), class_=f"button {kind}{' small' if small else ''}", href=url)


def button(label: str, kind: str = "plain", *, small: bool = False) -> Markup:
    """Return a button that submits its form."""
    return tag("button", tag("span", label), type="submit", class_=f"button {kind}{' small' if small else ''}")


def post(action: str, /, *children: Child, **fields: str) -> Markup:
    """Return a form for an action."""
    return tag("form", hidden(fields), children, method="post", action=action)


def hidden(fields: Mapping[str, str]) -> list[Markup]:
    """Return the hidden fields of a form. Empty ones are left out."""
    return [tag("input", type="hidden", name=name, value=value) for name, value in fields.items() if value]


def filters(action: str, *controls: Child) -> Markup:
    """Return a form whose fields filter a list."""
    apply = button("Apply", small=True)
    return tag("form", controls, apply, method="get", action=action, class_="filters", role="search")


def field(label: str, name: str, value: str, *, type: str = "search", placeholder: str | None = None) -> Markup:
    """Return a field of a filter."""
    entry = tag("input", type=type, name=name, value=value, class_="input", placeholder=placeholder)
    return tag("label", tag("span", label), entry, class_="filter")


def select(label: str, name: str, options: Iterable[tuple[str, str]], chosen: str) -> Markup:
    """Return a choice of a filter.

    Args:
        options: Values with their labels.
    """
    entries = [tag("option", shown, value=value, selected=value == chosen) for value, shown in options]
    return tag("label", tag("span", label), tag("select", entries, name=name, class_="input"), class_="filter")
