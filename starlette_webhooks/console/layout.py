"""The frame of all pages: the document, the navigation, and the headers."""

from __future__ import annotations

from starlette.responses import HTMLResponse, Response

from starlette_webhooks.console.html import Child, Markup, join, tag
from starlette_webhooks.console.icons import icon
from starlette_webhooks.console.visit import Visit

__all__ = ["HEADERS", "page", "refusal"]

_STYLES = ("theme", "base", "parts", "tables", "forms", "code", "pages", "console")
_SECTIONS = (
    ("", "Overview", "live"),
    ("tenants", "Tenants", "catalog"),
    ("endpoints", "Endpoints", "endpoints"),
    ("events", "Events", "events"),
    ("undelivered", "Undelivered", "undelivered"),
    ("dead-letters", "Dead letters", "warning"),
)

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    # Addresses contain names of tenants. With `no-referrer`, browsers would send `Origin: null` with our own forms, and
    # over HTTP no `Sec-Fetch-Site` instead.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""The security headers of each page."""


def page(
    visit: Visit,
    title: str,
    *content: Child,
    lead: Child = None,
    above: tuple[str, str] | None = None,
    actions: Child = None,
    live: bool = False,
    status: int = 200,
) -> Response:
    """Render a page.

    Args:
        lead: A sentence below the heading.
        above: The label and the URL of the page above.
        live: Whether the browser renews the content every few seconds.
    """
    crumb = None if above is None else tag("div", tag("a", icon("back"), above[0], href=above[1]), class_="crumb")
    heading = tag(
        "div",
        tag("div", tag("h1", title, class_="break"), lead and tag("p", lead, class_="sub"), class_="heading-text"),
        actions and tag("div", actions, class_="actions"),
        class_="heading",
        id="heading",
    )
    stale = tag("p", "Connection lost. This page shows what was true before.", id="stale", class_="banner", hidden=True)
    body = tag("div", content, id="content", class_="page", data_live=live)
    main = tag("main", tag("div", crumb, heading, class_="page-head"), body, id="main", tabindex="-1")
    zone = tag("footer", "Times are in UTC.", class_="zone", id="zone")
    frame = tag("div", _sidebar(visit), tag("div", stale, main, zone, class_="content"), class_="frame")
    skip = tag("a", "Skip to content", class_="skip", href="#main")
    return HTMLResponse(_document(visit, title, join(skip, frame)), status, HEADERS)


def refusal(visit: Visit, status: int, title: str, text: str) -> Response:
    """Return a page that says why there is nothing to see."""
    return page(visit, title, tag("section", tag("p", text), class_="card"), status=status)


def _document(visit: Visit, title: str, body: Markup) -> str:
    static = visit.link("static", visit.assets.version)
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("title", f"{title} · {_brand(visit)}"),
        tag("link", rel="icon", href=f"{static}/icon.svg", type="image/svg+xml"),
        [tag("link", rel="stylesheet", href=f"{static}/{name}.css") for name in _STYLES],
        tag("script", src=f"{static}/console.js", type="module"),
    )
    return f'<!doctype html>\n<html lang="en">\n{tag("head", head)}\n{tag("body", body)}\n</html>\n'


def _sidebar(visit: Visit) -> Markup:
    here = visit.path[0]
    links = [
        tag(
            "a",
            icon(glyph),
            tag("span", label),
            class_="nav-link",
            href=visit.link(name),
            aria_current="page" if name == here else None,
        )
        for name, label, glyph in _SECTIONS
    ]
    mark = tag("span", icon("key"), class_="mark", aria_hidden="true")
    who = tag("div", visit.operator.name, class_="tenant", title="Who you are in the audit log")
    brand = tag("div", mark, tag("div", tag("div", _brand(visit)), who), class_="brand")
    note = tag("p", icon("lock"), "Read only", class_="read-only") if visit.operator.read_only else None
    return tag("header", brand, tag("nav", links, aria_label="Console"), note, class_="sidebar")


def _brand(visit: Visit) -> str:
    return f"{visit.host.settings.portal_brand} console"
