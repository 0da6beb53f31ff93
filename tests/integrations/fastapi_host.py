"""The host in FastAPI."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import BackgroundTasks, Body, FastAPI

from starlette_webhooks import Webhooks, WebhooksMiddleware, WebhooksRequest, WebhooksWebSocket, get_emitter
from starlette_webhooks.fastapi import EmitterDep, document_events
from tests.hosts import MOUNT
from tests.integrations.hosting import host_error, lifespan_of


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
