"""A signed-in user with a browser, and helpers of the browser tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect
from standardwebhooks import Webhook, WebhookVerificationError

from tests import plain
from tests.browser.host import MOUNT
from tests.eventually import wait_for
from tests.servers import Server

PAGES = ["start", "endpoints", "endpoints/new", "events", "undelivered", "live", "catalog", "catalog/invoice.paid"]


HOSTILE = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "javascript:document.title='owned'",
    "\"><svg onload=document.title='owned'>",
    "'; document.title='owned'; '",
    "\u202egnp.exe",
    "{{constructor.constructor('document.title=1')()}}",
    "</pre></code></dialog><h1>owned</h1>",
]


# The schedule has a jitter of 20 %.
IN_AN_HOUR = re.compile(r"in (1 hour|[45]\d minutes)")


WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


class Visitor:
    """A signed-in user with a browser, and the API of the same tenant."""

    def __init__(self, context: BrowserContext, server: Server, tenant: str) -> None:
        self.context = context
        self.server = server
        self.tenant = tenant
        self.errors: list[str] = []
        self.api = plain.Client(base_url=f"{server.url}{MOUNT}/", headers={"Authorization": f"Bearer {tenant}"})
        context.add_init_script(WATCH)
        context.set_default_timeout(8000)
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._listen)

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def open(self, address: str = "", *, at: str = f"{MOUNT}/dashboard") -> Page:
        self.page.goto(f"{self.server.url}{at}" + (f"#/{address}" if address else ""))
        # Changing only the fragment does not reload the page.
        expect(self.page.locator("h1").first).to_be_visible()
        return self.page

    def endpoint(self, url: str, **fields: Any) -> str:
        answer = self.api.post("endpoints", json={"url": url, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def emit(self, event_type: str, *events: dict[str, Any]) -> list[str]:
        body = {"tenant": self.tenant, "type": event_type, "events": events}
        ids: list[str] = plain.post(f"{self.server.url}/emit", json=body).raise_for_status().json()
        return ids

    def violations(self) -> list[str]:
        found: list[str] = self.page.evaluate("window.violations")
        return found


Visit = Callable[..., Visitor]


def wait_with(page: Page, condition: Callable[[], Any]) -> None:
    """Wait until the condition is true. Meanwhile the handlers of the page's events and routes are called."""

    def look() -> Any:
        page.wait_for_timeout(20)
        return condition()

    wait_for(look)


def pill(place: Page | Locator, text: str) -> Locator:
    return place.locator(".pill", has_text=text)


def verifies(verifier: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    try:
        verifier.verify(body, headers)
    except WebhookVerificationError:
        return False
    return True
