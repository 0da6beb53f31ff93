"""An operator at the console: reads pages, follows links, and submits forms as a browser does."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import httpx
from starlette.requests import HTTPConnection

from starlette_webhooks import Webhooks
from starlette_webhooks.console import Operator
from tests.receivers import Receiver

URL = "http://host/"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


def authorize(connection: HTTPConnection) -> Operator | str | None:
    """Return the operator that the header `X-Operator` names. For tests only."""
    name = connection.headers.get("x-operator")
    return Operator(name, read_only=True) if name == "reader" else name


@dataclass
class Form:
    """A form of a page."""

    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    label: str = ""


class Page(HTMLParser):
    """The text, the links and the forms of a page."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        self.status = response.status_code
        self.url = str(response.url)
        self.html = response.text
        self.words: list[str] = []
        self.links: dict[str, str] = {}
        self.forms: list[Form] = []
        self.addresses: list[str] = []
        self.live = False
        self._link: str | None = None
        self._form: Form | None = None
        self._in_button = False
        self.feed(response.text)

    @property
    def text(self) -> str:
        """The text of the page."""
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.addresses += [found[name] for name in ("href", "src") if name in found]
        self.live = self.live or "data-live" in found
        if tag == "a":
            self._link = found["href"]
        elif tag == "form":
            self._form = Form(found["method"], found["action"])
            self.forms.append(self._form)
        elif tag == "input" and self._form is not None:
            self._form.fields[found["name"]] = found.get("value", "")
        elif tag == "button":
            self._in_button = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._link = None
        elif tag == "form":
            self._form = None
        elif tag == "button":
            self._in_button = False

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._link is not None and data.strip():
            self.links.setdefault(data.strip(), self._link)
        if self._in_button and self._form is not None:
            self._form.label += data.strip()

    def buttons(self) -> list[str]:
        """The labels of the buttons that post."""
        return [form.label for form in self.forms if form.method == "post"]

    def form(self, label: str) -> Form:
        """The form with this button."""
        return next(form for form in self.forms if form.label == label)


@dataclass
class Desk:
    """A running `Webhooks`, and an operator at its console."""

    webhooks: Webhooks
    client: httpx.AsyncClient
    receiver: Receiver

    async def get(self, address: str, **options: Any) -> Page:
        """Open a page."""
        return Page(await self.client.get(urljoin(URL, address), follow_redirects=True, **options))

    async def follow(self, page: Page, label: str) -> Page:
        """Follow a link of a page."""
        return await self.get(urljoin(page.url, page.links[label]))

    async def press(self, page: Page, label: str) -> Page:
        """Press a button of a page."""
        form = page.form(label)
        address = urljoin(page.url, form.action)
        if form.method == "get":
            return await self.get(address, params=form.fields)
        return Page(await self.client.post(address, data=form.fields, headers=SAME_ORIGIN, follow_redirects=True))


def at_console(webhooks: Webhooks, operator: str = "olga", **options: Any) -> httpx.AsyncClient:
    """A client of the console, as this operator."""
    app = webhooks.console(authorize=authorize, **options)
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 5000))
    return httpx.AsyncClient(transport=transport, base_url=URL, headers={"X-Operator": operator})
