"""FastAPI: the emitter as a dependency, and event types in FastAPI's documentation.

webhooks.install(app)
document_events(app, webhooks)

@app.post("/invoices/{id}/pay")
async def pay(id: str, webhooks: EmitterDep) -> None:
    webhooks.emit("invoice.paid", {"invoiceId": id})
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from starlette_webhooks.applications import Webhooks
from starlette_webhooks.emitter import Emitter, get_emitter
from starlette_webhooks.openapi import event_webhooks

__all__ = ["EmitterDep", "document_events"]


async def _emitter(connection: HTTPConnection) -> Emitter:
    return get_emitter(connection)


EmitterDep = Annotated[Emitter, Depends(_emitter)]
"""The emitter of the request or websocket, as a parameter of routes and other dependencies."""


def document_events(app: FastAPI, webhooks: Webhooks) -> None:
    """Show every event type under "Webhooks" in the app's `/docs` and `/openapi.json`, with its schema and example."""
    generate = app.openapi
    documented = event_webhooks(webhooks.event_types)

    def openapi() -> dict[str, Any]:
        document = generate()
        # FastAPI caches the document. Webhooks that the app documents itself stay unchanged.
        document["webhooks"] = {**documented, **document.get("webhooks", {})}
        return document

    # https://fastapi.tiangolo.com/how-to/extending-openapi/
    app.openapi = openapi  # type: ignore[method-assign]
