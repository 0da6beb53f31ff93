"""A small host app for tests: signed-in users by a header, API keys, and routes that emit in every way."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from starlette_webhooks import APIKeys, EventType, Principal, Webhooks, WebhooksMiddleware
from starlette_webhooks.settings import WebhooksSettings

MOUNT = "/api/v1/webhooks"
READ, WRITE = "webhooks:read", "webhooks:write"
KEYS = {
    "acme": Principal("acme", [READ, WRITE]),
    "acme-read": Principal("acme", [READ]),
    "acme-write": Principal("acme", [WRITE]),
    "globex": Principal("globex", [READ, WRITE]),
}
EVENT_TYPES = [
    EventType("invoice.paid", category="Billing", description="An invoice was paid.", example={"amount": 9900}),
    EventType("invoice.failed", category="Billing"),
    EventType("document.created", schema={"type": "object", "required": ["title"]}, example={"title": "Plan"}),
]


class HeaderUsers(AuthenticationBackend):
    """Signs in the user that the header `X-User` names. For tests only."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        user = conn.headers.get("x-user")
        return None if user is None else (AuthCredentials([READ, WRITE]), SimpleUser(user))


async def emit(request: Request) -> JSONResponse:
    emission = request.state.webhooks.emit("invoice.paid", {"amount": 1, **await request.json()})
    return JSONResponse({"id": emission.event.id})


async def emit_and_wait(request: Request) -> JSONResponse:
    event = await request.state.webhooks.emit("invoice.paid", {}, event_id=request.query_params.get("event_id"))
    return JSONResponse({"id": event.id})


def emit_in_thread(request: Request) -> JSONResponse:
    return JSONResponse({"id": request.state.webhooks.emit("invoice.paid", {"from": "thread"}).event.id})


async def emit_in_background(request: Request) -> JSONResponse:
    emitter = request.state.webhooks
    return JSONResponse({}, background=BackgroundTask(emitter.emit, "invoice.paid", {"from": "background"}))


async def emit_then_fail(request: Request) -> JSONResponse:
    request.state.webhooks.emit("invoice.failed", {})
    raise RuntimeError("the host failed after it emitted")


async def emit_while_streaming(request: Request) -> StreamingResponse:
    async def body() -> Any:
        yield b"start"
        yield request.state.webhooks.emit("invoice.paid", {"from": "body"}).event.id.encode()

    return StreamingResponse(body())


async def nothing(request: Request) -> JSONResponse:
    return JSONResponse({})


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    data = await websocket.receive_json()
    event = websocket.state.webhooks.emit("invoice.paid", data).event
    await websocket.send_json({"id": event.id})
    await websocket.close()


def make_webhooks(settings: WebhooksSettings, **options: Any) -> Webhooks:
    options.setdefault("authenticate", APIKeys(KEYS.get, fallback=user_of))
    options.setdefault("event_types", EVENT_TYPES)
    return Webhooks(settings=settings, **options)


def user_of(connection: HTTPConnection) -> Principal | None:
    """Authenticate a session: a cookie in a browser, and `X-User` here."""
    user = connection.headers.get("x-user")
    return None if user is None else Principal(user, [READ, WRITE])


def make_app(webhooks: Webhooks, **options: Any) -> Starlette:
    routes = [
        Mount(MOUNT, app=webhooks),
        Route("/emit", emit, methods=["POST"]),
        Route("/emit-and-wait", emit_and_wait, methods=["POST"]),
        Route("/emit-in-thread", emit_in_thread, methods=["POST"]),
        Route("/emit-in-background", emit_in_background, methods=["POST"]),
        Route("/emit-then-fail", emit_then_fail, methods=["POST"]),
        Route("/emit-while-streaming", emit_while_streaming, methods=["POST"]),
        Route("/nothing", nothing),
        WebSocketRoute("/socket", socket),
    ]
    middleware = [
        Middleware(WebhooksMiddleware, webhooks=webhooks),
        Middleware(AuthenticationMiddleware, backend=HeaderUsers()),
    ]
    return Starlette(routes=routes, middleware=middleware, **options)


def enter(client: Any, link: str, **fields: str) -> Any:
    """Press the button of the page that a portal link opens, and return the response."""
    address, _, query = link.partition("?")
    (token,) = parse_qs(query)["token"]
    headers = {"Sec-Fetch-Site": "same-origin"}
    data = {"token": token, **fields}
    return client.post(f"{address.rstrip('/')}/enter", data=data, headers=headers, follow_redirects=False)


def session_of(client: Any, key: str, **options: Any) -> str:
    """Return the cookie of a portal session that a key has opened."""
    link = client.post(f"http://testserver{MOUNT}/portal", json=options, headers=bearer(key)).json()["url"]
    cookie: str = enter(client, link).headers["set-cookie"]
    client.cookies.clear()
    return cookie.partition(";")[0]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
