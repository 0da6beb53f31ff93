"""The example on FastAPI: `uvicorn example_app.fastapi_app:app`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request
from sqlalchemy.ext.asyncio import AsyncSession

from example_app.documents import NewDocument, create_document, lifespan, list_documents, transaction
from example_app.integration import authorize, operator, take_stripe, webhooks, workspace
from example_app.site import Sessions, refuse, site_routes
from example_app.workspace import NewKey, Refused
from starlette_webhooks import WebhooksMiddleware
from starlette_webhooks.fastapi import EmitterDep

app = FastAPI(title="Folio", lifespan=lifespan, exception_handlers={Refused: refuse})
app.add_middleware(Sessions)
app.add_middleware(WebhooksMiddleware, webhooks=webhooks)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with transaction() as session:
        yield session


# By default, a dependency ends after the response has been sent. This one commits before.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


@app.post("/api/v1/keys", status_code=201)
async def create_key(new: NewKey, request: Request, events: EmitterDep) -> dict[str, Any]:
    key, secret = workspace.create_key(await authorize(request, "keys:write"), new)
    events.emit("api_key.created", key.document())
    return key.document() | {"secret": secret}


@app.delete("/api/v1/keys/{id}", status_code=204)
async def revoke_key(id: str, request: Request, events: EmitterDep) -> None:
    key = workspace.revoke_key(await authorize(request, "keys:write"), id)
    events.emit("api_key.revoked", {"apiKeyId": key.id, "name": key.name})


@app.get("/api/v1/documents")
async def get_documents(request: Request, session: SessionDep) -> dict[str, Any]:
    documents = await list_documents(session, await authorize(request, "documents:read"))
    return {"documents": [document.document() for document in documents]}


@app.post("/api/v1/documents", status_code=201)
async def post_document(new: NewDocument, request: Request, session: SessionDep, events: EmitterDep) -> dict[str, Any]:
    document = create_document(session, await authorize(request, "documents:write"), new)
    events.emit("document.created", {"documentId": document.id, "title": document.title}, within=session)
    return document.document()


@app.post("/stripe/webhook", status_code=204)
async def stripe(request: Request, events: EmitterDep, stripe_signature: Annotated[str, Header()] = "") -> None:
    await take_stripe(events, await request.body(), stripe_signature)


app.mount("/api/v1/webhooks", webhooks)
app.mount("/webhooks", webhooks.portal)
app.mount("/operate", webhooks.console(authorize=operator))
app.router.routes.extend(site_routes)
