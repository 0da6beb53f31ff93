"""What type checkers know in FastAPI. Checked by `test_typing.py`, and run, because FastAPI reads annotations."""

from __future__ import annotations

from typing import assert_type

from fastapi import FastAPI
from pydantic import BaseModel

from starlette_webhooks import Emitter, EventType, Webhooks, WebhooksRequest, WebhooksWebSocket, get_emitter
from starlette_webhooks.fastapi import EmitterDep, document_events
from starlette_webhooks.testing import MemoryBackend


class InvoicePaid(BaseModel):
    amount: int


webhooks = Webhooks(
    event_types=[EventType("invoice.paid", schema=InvoicePaid)], tenant=lambda _: "acme", backend=MemoryBackend()
)
app = FastAPI()
webhooks.install(app)
document_events(app, webhooks)


@app.post("/dependency")
async def by_dependency(webhooks: EmitterDep) -> str:
    assert_type(webhooks, Emitter)
    return webhooks.emit(InvoicePaid(amount=1)).event.id


@app.post("/request")
async def by_request(request: WebhooksRequest) -> str:
    assert_type(request.state.webhooks, Emitter)
    return request.state.webhooks.emit(InvoicePaid(amount=2)).event.id


@app.post("/thread")
def in_thread(request: WebhooksRequest) -> str:
    return get_emitter(request).emit(InvoicePaid(amount=3)).event.id


@app.websocket("/socket")
async def by_websocket(websocket: WebhooksWebSocket, emitter: EmitterDep) -> None:
    assert_type(websocket.state.webhooks, Emitter)
    await websocket.accept()
    await websocket.send_text(emitter.emit(InvoicePaid(amount=4)).event.id)
    await websocket.close()


def wrong(webhooks: EmitterDep) -> None:
    webhooks.emit(amount=1)  # type: ignore[call-overload]
    document_events(webhooks, app)  # type: ignore[arg-type]
