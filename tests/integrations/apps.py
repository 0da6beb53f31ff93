"""One small host in each framework, with the same routes: they emit in every way that a host can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import BackgroundTasks, Body, FastAPI
from litestar import (
    Litestar,
    MediaType,
    Request as LitestarRequest,
    WebSocket as LitestarWebSocket,
    get,
    post,
    websocket,
)
from litestar.background_tasks import BackgroundTask as LitestarTask
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException as LitestarHTTPException
from litestar.params import JSONBody
from litestar.response import Response as LitestarResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from starlette_webhooks import Emitter, Webhooks, WebhooksMiddleware, WebhooksRequest, WebhooksWebSocket, get_emitter
from starlette_webhooks.fastapi import EmitterDep, document_events
from starlette_webhooks.litestar import WebhooksPlugin
from starlette_webhooks.settings import WebhooksSettings
from tests.hosts import MOUNT, make_webhooks

HOSTS: dict[str, Callable[..., Any]] = {}
"""Makes a host around `Webhooks`: `(webhooks, prefix="")`, with everything below the prefix."""

Host = Callable[..., Any]


def user_header(connection: HTTPConnection) -> str | None:
    """Return the tenant for whom a request emits."""
    return connection.headers.get("x-user")


def webhooks_for(settings: WebhooksSettings, **options: Any) -> Webhooks:
    return make_webhooks(settings, **{"tenant": user_header, **options})


def host(make: Host) -> Host:
    HOSTS[make.__name__] = make
    return make


def lifespan_of(webhooks: Webhooks) -> Callable[[Any], Any]:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        await webhooks.emitter("acme").emit("invoice.paid", {"from": "startup"})
        yield
        webhooks.emitter("acme").emit("invoice.paid", {"from": "shutdown"})

    return lifespan


# Starlette


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


async def host_error(request: Request, error: Exception) -> PlainTextResponse:
    return PlainTextResponse("the host's own page", 500)


@host
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


# FastAPI


@host
def fastapi(webhooks: Webhooks, prefix: str = "") -> FastAPI:
    app = FastAPI(lifespan=lifespan_of(webhooks), exception_handlers={500: host_error})
    inner = FastAPI() if prefix else app
    if prefix:
        app.mount(prefix, inner)
        inner.mount(MOUNT, webhooks)
        app.add_middleware(WebhooksMiddleware, webhooks=webhooks)
    else:
        webhooks.install(app, path=MOUNT)
    document_events(app, webhooks)

    @inner.post("/emit")
    async def emit(data: Annotated[dict[str, Any], Body()], webhooks: EmitterDep) -> dict[str, str]:
        return {"id": webhooks.emit("invoice.paid", data).event.id}

    @inner.post("/emit-in-thread")
    def emit_in_thread(webhooks: EmitterDep) -> dict[str, str]:
        return {"id": webhooks.emit("invoice.paid", {"from": "thread"}).event.id}

    @inner.post("/emit-in-background")
    async def emit_in_background(request: WebhooksRequest, tasks: BackgroundTasks) -> None:
        tasks.add_task(request.state.webhooks.emit, "invoice.paid", {"from": "background"})

    @inner.post("/emit-then-fail")
    async def emit_then_fail(webhooks: EmitterDep) -> None:
        webhooks.emit("invoice.failed", {})
        raise RuntimeError("the host failed after it emitted")

    @inner.get("/nothing")
    async def nothing() -> None:
        pass

    @inner.websocket("/socket")
    async def socket(websocket: WebhooksWebSocket, webhooks: EmitterDep) -> None:
        await websocket.accept()
        event = webhooks.emit("invoice.paid", await websocket.receive_json()).event
        assert get_emitter(websocket) is websocket.state.webhooks is webhooks
        await websocket.send_json({"id": event.id})
        await websocket.close()

    return app


# Litestar


@post("/emit", name="emit")
async def litestar_emit(data: JSONBody[dict[str, Any]], webhooks: NamedDependency[Emitter]) -> dict[str, str]:
    return {"id": webhooks.emit("invoice.paid", data).event.id}


@post("/emit-in-thread", sync_to_thread=True)
def litestar_emit_in_thread(webhooks: NamedDependency[Emitter]) -> dict[str, str]:
    return {"id": webhooks.emit("invoice.paid", {"from": "thread"}).event.id}


@post("/emit-in-background")
async def litestar_emit_in_background(request: LitestarRequest[Any, Any, Any]) -> LitestarResponse[None]:
    task = LitestarTask(request.state.webhooks.emit, "invoice.paid", {"from": "background"})
    return LitestarResponse(None, background=task)


@post("/emit-then-fail")
async def litestar_emit_then_fail(request: LitestarRequest[Any, Any, Any]) -> None:
    get_emitter(request).emit("invoice.failed", {})
    raise RuntimeError("the host failed after it emitted")


@get("/nothing")
async def litestar_nothing() -> None:
    pass


@get("/api/v1/webhooks-admin")
async def litestar_neighbour() -> str:
    return "a neighbour"


@websocket("/socket")
async def litestar_socket(socket: LitestarWebSocket[Any, Any, Any], webhooks: NamedDependency[Emitter]) -> None:
    await socket.accept()
    event = webhooks.emit("invoice.paid", await socket.receive_json()).event
    await socket.send_json({"id": event.id})
    await socket.close()


def litestar_error(request: LitestarRequest[Any, Any, Any], error: Exception) -> LitestarResponse[str]:
    if isinstance(error, LitestarHTTPException):
        return LitestarResponse(error.detail, status_code=error.status_code, media_type=MediaType.TEXT)
    return LitestarResponse("the host's own page", status_code=500, media_type=MediaType.TEXT)


@host
def litestar(webhooks: Webhooks, prefix: str = "") -> Litestar:
    handlers = [
        litestar_emit,
        litestar_emit_in_thread,
        litestar_emit_in_background,
        litestar_emit_then_fail,
        litestar_nothing,
        litestar_neighbour,
        litestar_socket,
    ]
    return Litestar(
        handlers,
        path=prefix or None,
        plugins=[WebhooksPlugin(webhooks, MOUNT, portal="/customers")],
        lifespan=[lifespan_of(webhooks)],
        exception_handlers={Exception: litestar_error},
    )
