"""The example on Litestar: `uvicorn example_app.litestar_app:app`."""

from __future__ import annotations

from typing import Any, cast

from litestar import Litestar, Request, Response, asgi, delete, get, post
from litestar.di import NamedDependency
from litestar.middleware import DefineMiddleware
from litestar.params import FromPath, JSONBody

from example_app import integration
from example_app.integration import authorize, take_stripe, workspace
from example_app.site import Sessions, site
from example_app.workspace import NewDocument, NewKey, Refused
from starlette_webhooks import Emitter
from starlette_webhooks.litestar import WebhooksPlugin

AnyRequest = Request[Any, Any, Any]


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
async def list_documents(request: AnyRequest) -> dict[str, Any]:
    owner = await authorize(request, "documents:read")
    return {"documents": [document.document() for document in workspace.documents(owner)]}


@post("/api/v1/documents")
async def create_document(
    data: JSONBody[NewDocument], request: AnyRequest, webhooks: NamedDependency[Emitter]
) -> dict[str, Any]:
    document = workspace.create_document(await authorize(request, "documents:write"), data)
    webhooks.emit("document.created", {"documentId": document.id, "title": document.title})
    return document.document()


@post("/stripe/webhook", status_code=204)
async def stripe(request: AnyRequest, webhooks: NamedDependency[Emitter]) -> None:
    await take_stripe(webhooks, await request.body(), request.headers.get("stripe-signature"))


app = Litestar(
    [create_key, revoke_key, list_documents, create_document, stripe, asgi(["/", "/session"], copy_scope=True)(site)],
    plugins=[WebhooksPlugin(integration.webhooks, "/api/v1/webhooks", portal="/webhooks")],
    middleware=[DefineMiddleware(cast(Any, Sessions))],
    exception_handlers={Refused: lambda request, error: Response(error.document, status_code=error.status)},
)
