"""The example on Litestar: `uvicorn example_app.litestar_app:app`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from litestar import Litestar, Request, Response, asgi, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.middleware import DefineMiddleware
from litestar.params import FromPath, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from example_app import integration
from example_app.documents import NewDocument, create_document, lifespan, list_documents, transaction
from example_app.integration import authorize, take_stripe, workspace
from example_app.site import Sessions, site
from example_app.workspace import NewKey, Refused
from starlette_webhooks import Emitter
from starlette_webhooks.litestar import WebhooksPlugin

AnyRequest = Request[Any, Any, Any]


async def provide_session() -> AsyncIterator[AsyncSession]:
    # Litestar ends it before it sends the response.
    async with transaction() as session:
        yield session


@post("/api/v1/keys")
async def create_key(data: JSONBody[NewKey], request: AnyRequest, webhooks: NamedDependency[Emitter]) -> dict[str, Any]:
    key, secret = workspace.create_key(await authorize(request, "keys:write"), data)
    webhooks.emit("api_key.created", key.document())
    return key.document() | {"secret": secret}


@delete("/api/v1/keys/{id:str}")
async def revoke_key(id: FromPath[str], request: AnyRequest, webhooks: NamedDependency[Emitter]) -> None:
    key = workspace.revoke_key(await authorize(request, "keys:write"), id)
    webhooks.emit("api_key.revoked", {"apiKeyId": key.id, "name": key.name})


@get("/api/v1/documents")
async def get_documents(request: AnyRequest, session: NamedDependency[AsyncSession]) -> dict[str, Any]:
    documents = await list_documents(session, await authorize(request, "documents:read"))
    return {"documents": [document.document() for document in documents]}


@post("/api/v1/documents")
async def post_document(
    data: JSONBody[NewDocument],
    request: AnyRequest,
    session: NamedDependency[AsyncSession],
    webhooks: NamedDependency[Emitter],
) -> dict[str, Any]:
    document = create_document(session, await authorize(request, "documents:write"), data)
    webhooks.emit("document.created", {"documentId": document.id, "title": document.title}, within=session)
    return document.document()


@post("/stripe/webhook", status_code=204)
async def stripe(request: AnyRequest, webhooks: NamedDependency[Emitter]) -> None:
    await take_stripe(webhooks, await request.body(), request.headers.get("stripe-signature"))


app = Litestar(
    [create_key, revoke_key, get_documents, post_document, stripe, asgi(["/", "/session"], copy_scope=True)(site)],
    dependencies={"session": Provide(provide_session)},
    lifespan=[lifespan],
    plugins=[
        WebhooksPlugin(
            integration.webhooks,
            "/api/v1/webhooks",
            portal="/webhooks",
            mounts={"/operate": integration.webhooks.console(authorize=integration.operator)},
        )
    ],
    middleware=[DefineMiddleware(cast(Any, Sessions))],
    exception_handlers={Refused: lambda request, error: Response(error.document, status_code=error.status)},
)
