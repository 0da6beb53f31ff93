"""The example on Litestar: `uvicorn example_app.litestar_app:app`."""

from __future__ import annotations

from typing import Any, cast

from litestar import Litestar, Request, Response, asgi, delete, get, post
from litestar.di import NamedDependency
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.params import JSONBody

from example_app.integration import authorize, take_stripe, webhooks, workspace
from example_app.site import site
from example_app.workspace import NewDocument, NewKey, Refused
from starlette_webhooks import Emitter
from starlette_webhooks.litestar import WebhooksPlugin

AnyRequest = Request[Any, Any, Any]


@post("/api/v1/keys")
async def create_key(data: JSONBody[NewKey], request: AnyRequest, webhooks: NamedDependency[Emitter]) -> dict[str, Any]:
    key, secret = workspace.create_key(await authorize(request, "keys:write"), data)
    webhooks.emit("api_key.created", key.document())
    return key.document() | {"secret": secret}
