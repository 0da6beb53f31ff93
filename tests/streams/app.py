"""The host app of the tests with real servers: a stream over a log in memory, `uvicorn tests.streams.app:app`."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from starlette_webhooks.streams import StreamHub
from tests.settings import make_settings
from tests.streams.feed import ALL, Log

log = Log()
hub = StreamHub(log, make_settings(handle_signals=True, heartbeat=0.5))
log.listen(hub)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    async with hub.running():
        yield


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    last = dict(scope["headers"]).get(b"last-event-id", b"").decode()
    await hub.serve(scope, receive, send, tenant="acme", filter=ALL, last_event_id=last or None)


async def emit(request: Request) -> Response:
    for number in range(int(request.path_params["count"])):
        log.emit(number, size=int(request.query_params.get("size", 0)))
        await anyio.lowlevel.checkpoint()
    return JSONResponse({"last": log.entries[-1].event.id})


async def metrics(request: Request) -> Response:
    return JSONResponse(hub.metrics() | {"pid": os.getpid()})


streams: ASGIApp = stream
app = Starlette(
    routes=[Route("/emit/{count:int}", emit, methods=["POST"]), Route("/metrics", metrics), Mount("/stream", streams)],
    lifespan=lifespan,
)
