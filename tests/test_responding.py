"""Responses if an event cannot be stored: 503 if no response has started, and nothing afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from starlette_webhooks import BackendUnavailable, QueueFull, Webhooks, WebhooksMiddleware
from starlette_webhooks.settings import WebhooksSettings
from tests.hosts import HeaderUsers, make_webhooks
from tests.settings import make_settings

ACME = {"X-User": "acme"}


async def emit(request: Request) -> Response:
    request.state.webhooks.emit("invoice.paid", {})
    return PlainTextResponse("stored", background=BackgroundTask(request.app.state.ran.append, "background"))


async def emit_and_wait(request: Request) -> Response:
    await request.state.webhooks.emit("invoice.paid", {})
    return PlainTextResponse("stored")


async def emit_and_catch(request: Request) -> Response:
    try:
        await request.state.webhooks.emit("invoice.paid", {})
    except BackendUnavailable:
        return PlainTextResponse("without an event", 202)
    return PlainTextResponse("stored")


async def emit_while_streaming(request: Request) -> Response:
    async def body() -> Any:
        yield b"start"
        request.state.webhooks.emit("invoice.paid", {})
        yield b"never sent"

    # Trio warns of an unfinished generator that nothing refers to any more.
    request.app.state.body = body()
    return StreamingResponse(request.app.state.body)


async def emit_too_many(request: Request) -> Response:
    for _ in range(100):
        request.state.webhooks.emit("invoice.paid", {})
    return PlainTextResponse("stored")


async def emit_then_fail(request: Request) -> Response:
    request.state.webhooks.emit("invoice.paid", {})
    raise LookupError("the host's own")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    websocket.state.webhooks.emit("invoice.paid", {})
    await websocket.send_text("stored")


async def pass_on(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    return await call_next(request)


async def own_page(request: Request, error: Exception) -> Response:
    return JSONResponse({"from": "the host"}, 418)


def make_app(webhooks: Webhooks, *inner: Middleware, **options: Any) -> Starlette:
    from starlette.middleware.authentication import AuthenticationMiddleware

    routes: list[Any] = [
        Route(f"/{endpoint.__name__.replace('_', '-')}", endpoint, methods=["POST"])
        for endpoint in (emit, emit_and_wait, emit_and_catch, emit_while_streaming, emit_too_many, emit_then_fail)
    ]
    middleware = [
        Middleware(WebhooksMiddleware, webhooks=webhooks),
        Middleware(AuthenticationMiddleware, backend=HeaderUsers()),
        *inner,
    ]
    app = Starlette(routes=[*routes, WebSocketRoute("/socket", socket)], middleware=middleware, **options)
    app.state.ran = []
    return app


def client_of(app: Starlette, loop: str) -> TestClient:
    return TestClient(app, backend=loop, headers=ACME)  # type: ignore[arg-type]


def lose(settings: WebhooksSettings) -> None:
    anyio.run(anyio.Path(settings.database).unlink)


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param([], id="alone"),
        pytest.param([Middleware(BaseHTTPMiddleware, dispatch=pass_on)], id="around BaseHTTPMiddleware"),
    ],
)
@pytest.mark.parametrize("path", ["/emit", "/emit-and-wait"])
def test_the_answer_is_503_and_what_follows_a_response_is_not_run(
    settings: WebhooksSettings, anyio_backend: str, path: str, inner: list[Middleware]
) -> None:
    app = make_app(make_webhooks(settings), *inner)
    with client_of(app, anyio_backend) as client:
        lose(settings)
        response = client.post(path)
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert response.headers["retry-after"] == "5"
        assert response.headers["connection"] == "close"
        assert response.headers["cache-control"] == "no-store"
    assert app.state.ran == []


@pytest.mark.parametrize("handled", [Exception, BackendUnavailable])
def test_a_handler_of_the_host_cannot_answer_in_its_place(
    settings: WebhooksSettings, anyio_backend: str, handled: type[Exception]
) -> None:
    app = make_app(make_webhooks(settings), exception_handlers={handled: own_page})
    with client_of(app, anyio_backend) as client:
        lose(settings)
        assert client.post("/emit").status_code == 503


def test_a_handler_of_the_host_answers_where_the_host_awaited_what_it_emitted(
    settings: WebhooksSettings, anyio_backend: str
) -> None:
    app = make_app(make_webhooks(settings), exception_handlers={BackendUnavailable: own_page})
    with client_of(app, anyio_backend) as client:
        lose(settings)
        assert client.post("/emit-and-wait").status_code == 503, "its response would need the same event"


def test_an_error_of_the_host_stays_its_own(settings: WebhooksSettings, anyio_backend: str) -> None:
    app = make_app(make_webhooks(settings))
    with client_of(app, anyio_backend) as client:
        lose(settings)
        with pytest.raises(LookupError, match="the host's own"):
            client.post("/emit-then-fail")


def test_a_full_queue_is_503(settings: WebhooksSettings, tmp_path: Any, anyio_backend: str) -> None:
    app = make_app(make_webhooks(make_settings(tmp_path, queue_events=10)))
    with client_of(app, anyio_backend) as client:
        response = client.post("/emit-too-many")
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert QueueFull.message not in response.text


def test_a_response_that_has_started_ends_with_the_error(settings: WebhooksSettings, anyio_backend: str) -> None:
    app = make_app(make_webhooks(settings))
    with client_of(app, anyio_backend) as client:
        lose(settings)
        with pytest.raises(BackendUnavailable):
            client.post("/emit-while-streaming")


def test_a_websocket_ends_with_the_error(settings: WebhooksSettings, anyio_backend: str) -> None:
    app = make_app(make_webhooks(settings))
    with client_of(app, anyio_backend) as client:
        lose(settings)
        with pytest.raises((BackendUnavailable, WebSocketDisconnect)):
            with client.websocket_connect("/socket") as websocket:
                websocket.receive_text()


@pytest.mark.parametrize(("version", "expected"), [("1.1", True), ("1.0", True), ("2", False), ("3", False)])
async def test_only_http_1_is_told_to_close(settings: WebhooksSettings, version: str, expected: bool) -> None:
    webhooks = make_webhooks(settings)
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["webhooks"].emit("invoice.paid", {}, tenant="acme")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise AssertionError("it was sent")

    async def send(message: Any) -> None:
        sent.append(message)

    async with webhooks.lifespan():
        await anyio.Path(settings.database).unlink()
        await WebhooksMiddleware(app, webhooks)({"type": "http", "http_version": version}, None, send)  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert ((b"connection", b"close") in sent[0]["headers"]) == expected
