"""What type checkers know in Litestar. Checked by `test_typing.py`, and run, because Litestar reads annotations."""

from __future__ import annotations

from typing import Any, assert_type

from litestar import Litestar, Request, WebSocket, post, websocket
from litestar.di import NamedDependency

from starlette_webhooks import Emitter, EventType, Webhooks, get_emitter
from starlette_webhooks.litestar import WebhooksPlugin
from starlette_webhooks.testing import MemoryBackend


@post("/dependency")
async def by_dependency(webhooks: NamedDependency[Emitter]) -> str:
    assert_type(webhooks, Emitter)
    return webhooks.emit("invoice.paid", {}).event.id


@post("/request")
async def by_request(request: Request[Any, Any, Any]) -> str:
    assert_type(get_emitter(request), Emitter)
    return get_emitter(request).emit("invoice.paid", {}).event.id


@post("/thread", sync_to_thread=True)
def in_thread(webhooks: NamedDependency[Emitter]) -> str:
    return webhooks.emit("invoice.paid", {}).event.id


@websocket("/socket")
async def by_websocket(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text(get_emitter(socket).emit("invoice.paid", {}).event.id)
    await socket.close()


webhooks = Webhooks(event_types=[EventType("invoice.paid")], tenant=lambda _: "acme", backend=MemoryBackend())
app = Litestar([by_dependency, by_request, in_thread, by_websocket], plugins=[WebhooksPlugin(webhooks, path="/hooks")])


def wrong() -> None:
    WebhooksPlugin(webhooks, "/hooks", "/customers")  # type: ignore[call-arg]
    WebhooksPlugin(app)  # type: ignore[arg-type]
