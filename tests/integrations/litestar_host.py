"""The host in Litestar."""

from __future__ import annotations

from typing import Any

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

from starlette_webhooks import Emitter, Webhooks, get_emitter
from starlette_webhooks.litestar import WebhooksPlugin
from tests.hosts import MOUNT
from tests.integrations.hosting import lifespan_of


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
