"""The host of the tests of streams in a browser, `uvicorn tests.browser.streaming:app`: the snippets of the page."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Mount, Route

from starlette_webhooks import APIKeys, Webhooks, WebhooksMiddleware
from tests.browser.host import EVENT_TYPES, MOUNT, by_cookie, by_key
from tests.pages import DOCS, blocks

SESSION, KEY = blocks(DOCS / "howto" / "stream-to-a-browser.md", "js")
PAGES = {
    # What arrives is told to the title, where the test can wait for it.
    "session": SESSION.replace("console.log(", "window.seen.push("),
    "key": f"{KEY}\nfollow(location.hash.slice(1), (event) => window.seen.push(event.eventType));",
}


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse(f"<script>window.seen = [];\n{PAGES[request.path_params['name']]}</script>")


async def health(request: Request) -> JSONResponse:
    return JSONResponse(webhooks.health()["streams"])


webhooks = Webhooks(event_types=EVENT_TYPES, authenticate=APIKeys(by_key, fallback=by_cookie))
host = Starlette(routes=[Route("/page/{name}", page), Route("/streams", health), Mount(MOUNT, webhooks)])
app = WebhooksMiddleware(host, webhooks)
