"""The host in Starlette."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute

from starlette_webhooks import Webhooks, WebhooksMiddleware, WebhooksRequest, WebhooksWebSocket, get_emitter
from tests.hosts import MOUNT
from tests.integrations.hosting import host_error, lifespan_of


async def emit(request: WebhooksRequest) -> JSONResponse:
    event = request.state.webhooks.emit("invoice.paid", await request.json()).event
    return JSONResponse({"id": event.id})


def emit_in_thread(request: WebhooksRequest) -> JSONResponse:
    return JSONResponse({"id": get_emitter(request).emit("invoice.paid", {"from": "thread"}).event.id})


async def emit_in_background(request: WebhooksRequest) -> JSONResponse:
    task = BackgroundTask(request.state.webhooks.emit, "invoice.paid", {"from": "background"})
    return JSONResponse({}, background=task)


async def emit_then_fail(request: WebhooksRequest) -> JSONResponse:
    request.state.webhooks.emit("invoice.failed", {})
    raise RuntimeError("the host failed after it emitted")


async def nothing(request: Request) -> JSONResponse:
    return JSONResponse({})


async def socket(websocket: WebhooksWebSocket) -> None:
    await websocket.accept()
    event = websocket.state.webhooks.emit("invoice.paid", await websocket.receive_json()).event
    await websocket.send_json({"id": event.id})
    await websocket.close()


def starlette(webhooks: Webhooks, prefix: str = "") -> Starlette:
    routes = [
        Route("/emit", emit, methods=["POST"]),
        Route("/emit-in-thread", emit_in_thread, methods=["POST"]),
        Route("/emit-in-background", emit_in_background, methods=["POST"]),
        Route("/emit-then-fail", emit_then_fail, methods=["POST"]),
        Route("/nothing", nothing),
        WebSocketRoute("/socket", socket),
        Mount(MOUNT, app=webhooks),
    ]
    app = Starlette(
        routes=[Mount(prefix, routes=routes)] if prefix else routes,
        exception_handlers={500: host_error},
        lifespan=lifespan_of(webhooks),
    )
    app.add_middleware(WebhooksMiddleware, webhooks=webhooks)
    return app
