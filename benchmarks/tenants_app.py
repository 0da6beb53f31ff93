"""The server of the subject `tenants`: a key for each customer, a route that emits for any of them, and a bare one."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from starlette_webhooks import EventType, Principal, Webhooks, WebhooksSettings

SCHEMA = {
    "type": "object",
    "properties": {
        "items": {"type": "array", "uniqueItems": True},
        "name": {"type": "string", "pattern": "^(a+)+$"},
    },
}
TYPES = [f"thing.kind_{n}" for n in range(304)]
_SETTINGS: dict[str, Any] = {"allow_networks": "127.0.0.0/8", "endpoints_per_tenant": 1000}


async def _authenticate(connection: HTTPConnection) -> Principal | None:
    key = connection.headers.get("authorization", "").removeprefix("Bearer ")
    return Principal(key, ["webhooks:read", "webhooks:write"]) if key else None


webhooks = Webhooks(
    event_types=[EventType("order.created", schema=SCHEMA), *TYPES],
    authenticate=_authenticate,
    tenant=lambda connection: connection.headers["x-tenant"],
    settings=WebhooksSettings(database=os.environ["BENCH_DATABASE"], **_SETTINGS),
)


async def _ping(request: Request) -> Response:
    return PlainTextResponse("pong")


async def _emit(request: Request) -> Response:
    given = json.loads(await request.body())
    for _ in range(given.get("count", 1)):
        request.state.webhooks.emit(given["type"], given["data"])
    return PlainTextResponse("emitted")


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    async with webhooks.lifespan():
        yield


app = Starlette(routes=[Route("/ping", _ping), Route("/emit", _emit, methods=["POST"])], lifespan=_lifespan)
webhooks.install(app)
