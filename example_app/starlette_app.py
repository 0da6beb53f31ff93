"""The example on Starlette: `uvicorn example_app.starlette_app:app`."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from example_app.documents import NewDocument, create_document, lifespan, list_documents, transaction
from example_app.integration import authorize, operator, take_stripe, webhooks, workspace
from example_app.site import Sessions, refuse, site_routes
from example_app.workspace import NewKey, Refused, parse
from starlette_webhooks import WebhooksMiddleware, WebhooksRequest


async def create_key(request: WebhooksRequest) -> Response:
    owner = await authorize(request, "keys:write")
    key, secret = workspace.create_key(owner, parse(NewKey, await request.body()))
    request.state.webhooks.emit("api_key.created", key.document())
    return JSONResponse(key.document() | {"secret": secret}, 201)


async def revoke_key(request: WebhooksRequest) -> Response:
    key = workspace.revoke_key(await authorize(request, "keys:write"), request.path_params["id"])
    request.state.webhooks.emit("api_key.revoked", {"apiKeyId": key.id, "name": key.name})
    return Response(status_code=204)


async def get_documents(request: WebhooksRequest) -> Response:
    owner = await authorize(request, "documents:read")
    async with transaction() as session:
        documents = await list_documents(session, owner)
    return JSONResponse({"documents": [document.document() for document in documents]})


async def post_document(request: WebhooksRequest) -> Response:
    owner = await authorize(request, "documents:write")
    new = parse(NewDocument, await request.body())
    async with transaction() as session:
        document = create_document(session, owner, new)
        data = {"documentId": document.id, "title": document.title}
        request.state.webhooks.emit("document.created", data, within=session)
    return JSONResponse(document.document(), 201)


async def stripe(request: WebhooksRequest) -> Response:
    await take_stripe(request.state.webhooks, await request.body(), request.headers.get("stripe-signature"))
    return Response(status_code=204)


app = Starlette(
    routes=[
        Route("/api/v1/keys", create_key, methods=["POST"]),
        Route("/api/v1/keys/{id}", revoke_key, methods=["DELETE"]),
        Route("/api/v1/documents", get_documents),
        Route("/api/v1/documents", post_document, methods=["POST"]),
        Route("/stripe/webhook", stripe, methods=["POST"]),
        Mount("/api/v1/webhooks", webhooks),
        Mount("/webhooks", webhooks.portal),
        Mount("/operate", webhooks.console(authorize=operator)),
        *site_routes,
    ],
    exception_handlers={Refused: refuse},
    lifespan=lifespan,
)
app.add_middleware(Sessions)
app.add_middleware(WebhooksMiddleware, webhooks=webhooks)
