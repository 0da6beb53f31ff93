"""The server of the subject `tenants`: a key for each customer, a route that emits for any of them, and a bare one."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from starlette_webhooks import EventType, Principal, Webhooks, WebhooksSettings
from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.delivery.lookups import Lookups

SCHEMA = {
    "type": "object",
    "properties": {
        "items": {"type": "array", "uniqueItems": True},
        "name": {"type": "string", "pattern": "^(a+)+$"},
    },
}
TYPES = [f"thing.kind_{n}" for n in range(304)]
_SETTINGS: dict[str, Any] = {"allow_networks": "127.0.0.0/8", "endpoints_per_tenant": 1000}
# A server that answers no question about these names, however often it is asked.
_SILENT = ".silent.test"
_SILENT_SECONDS = 10.0
_LAG_EVERY = 0.005


def _search(host: bytes, *arguments: Any, **options: Any) -> list[Any]:
    if not host.decode().endswith(_SILENT):
        return socket.getaddrinfo(host, *arguments, **options)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver,
    ):
        server.bind(("127.0.0.1", 0))
        resolver.settimeout(_SILENT_SECONDS)
        resolver.sendto(host, server.getsockname())
        with suppress(TimeoutError):
            resolver.recv(512)
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


async def _authenticate(connection: HTTPConnection) -> Principal | None:
    key = connection.headers.get("authorization", "").removeprefix("Bearer ")
    return Principal(key, ["webhooks:read", "webhooks:write"]) if key else None


settings = WebhooksSettings(database=os.environ["BENCH_DATABASE"], **_SETTINGS)
webhooks = Webhooks(
    event_types=[EventType("order.created", schema=SCHEMA), *TYPES],
    authenticate=_authenticate,
    tenant=lambda connection: connection.headers["x-tenant"],
    settings=settings,
    backend=SQLiteBackend(settings, lookups=Lookups(search=_search)),
)


async def _ping(request: Request) -> Response:
    return PlainTextResponse("pong")


async def _emit(request: Request) -> Response:
    given = json.loads(await request.body())
    for _ in range(given.get("count", 1)):
        request.state.webhooks.emit(given["type"], given["data"])
    return PlainTextResponse("emitted")


_lags: list[float] = []


async def _watch_lag() -> None:
    """Note by how many milliseconds the event loop is late."""
    while True:
        began = time.perf_counter()
        await anyio.sleep(_LAG_EVERY)
        _lags.append((time.perf_counter() - began - _LAG_EVERY) * 1e3)


async def _lag(request: Request) -> Response:
    """The lags since the last call."""
    values = list(_lags)
    _lags.clear()
    return JSONResponse(values)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    async with webhooks.lifespan(), anyio.create_task_group() as tasks:
        tasks.start_soon(_watch_lag)
        yield
        tasks.cancel_scope.cancel()


routes = [Route("/ping", _ping), Route("/emit", _emit, methods=["POST"]), Route("/lag", _lag)]
app = Starlette(routes=routes, lifespan=_lifespan)
webhooks.install(app)
