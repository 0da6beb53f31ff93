"""The host of the tests of streams in a browser, `uvicorn tests.browser.streaming:app`: the snippets of the page."""

from __future__ import annotations

import re

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starlette_webhooks import APIKeys, Webhooks, WebhooksMiddleware
from tests.aging import aging_routes
from tests.browser.host import EVENT_TYPES, MOUNT, by_cookie, by_key
from tests.pages import DOCS, blocks

MODULE, SESSION, SIGN_IN, KEY = blocks(DOCS / "howto" / "stream-to-a-browser.md", "js")
RETRY = re.compile(rb"(?<=^retry: )\d{3,}$", re.MULTILINE)
PAUSE = "1000 + 4000 * Math.random()"
assert PAUSE in KEY
PAGES = {
    # What arrives is shown in the title, so that the test can wait for it.
    "module": MODULE.replace("console.log(", "window.seen.push(") + "\nfollow({ key: location.hash.slice(1) });",
    "session": SESSION.replace("console.log(", "window.seen.push("),
    "sign-in": f"{SESSION}\n{SIGN_IN}",
    "key": f"{KEY.replace(PAUSE, '0')}\nfollow(location.hash.slice(1), (event) => window.seen.push(event.eventType));",
}


async def page(request: Request) -> HTMLResponse:
    name = request.path_params["name"]
    kind = ' type="module"' if name == "module" else ""
    return HTMLResponse(f"<script{kind}>window.seen = [];\n{PAGES.get(name, '')}</script>")


async def health(request: Request) -> JSONResponse:
    return JSONResponse({**webhooks.health()["streams"], "begun": app.begun})


class SoonAgain:
    """Lets browsers reconnect a tenth of a second later, whatever time `retry:` gives them, so that tests are quick.

    Attributes:
        begun: Streams of which the beginning was sent. Nothing that is emitted after that may be missing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.begun = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_soon(message: Message) -> None:
            begins = False
            if message["type"] == "http.response.body":
                body, times = RETRY.subn(soon, message.get("body", b""))
                begins = bool(times and message.get("more_body"))
                message = {**message, "body": body}
            await send(message)
            self.begun += begins

        await self.app(scope, receive, send_soon)


def soon(retry: re.Match[bytes]) -> bytes:
    # As long as before, because the header has the length of the body.
    return b"100".rjust(len(retry[0]), b"0")


webhooks = Webhooks(event_types=EVENT_TYPES, authenticate=APIKeys(by_key, fallback=by_cookie))
routes = [Route("/page/{name}", page), Route("/streams", health), Mount(MOUNT, webhooks), *aging_routes(webhooks)]
host = Starlette(routes=routes)
app = SoonAgain(WebhooksMiddleware(host, webhooks))
