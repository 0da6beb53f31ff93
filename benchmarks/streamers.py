"""The servers of the subject `stream`: ours, its peers, and the bare transport."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from benchmarks.app import EVENT_TYPE, make_webhooks
from benchmarks.load import percentile

# Frames of about 410 bytes. Readers count the tilde.
_DATA = {"mark": "~", "invoice": "in_1PQ", "amountPaid": 9900, "currency": "eur", "note": "x" * 130}
_ID = "msg_2xYbnVn4gvBVd3z7qjHqSAPrGvi"
_BODY = json.dumps({"id": _ID, "eventType": EVENT_TYPE, "payload": _DATA, "pad": "x" * 90})
_FRAME = f"id: {_ID}\ndata: {_BODY}\n\n".encode()
FILTERS = 100
"""Types besides the emitted one, for different filters."""


class LagProbe:
    """Measures how late the loop runs a timer of 5 ms. Starts at the first call of its route, and reports at each."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._task: asyncio.Task[None] | None = None
        self.route = Route("/lag", self._report, methods=["POST"])

    async def _report(self, request: Request) -> JSONResponse:
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        late, self._late = sorted(self._late), []
        return JSONResponse({"p99_ms": percentile(late, 0.99) * 1e3, "max_ms": max(late, default=0.0) * 1e3})

    async def _run(self) -> None:
        while True:
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            self._late.append(time.perf_counter() - due)


def ours() -> Starlette:
    """Emit, commit, fan out."""
    from starlette_webhooks import WebhooksMiddleware

    webhooks = make_webhooks(
        event_types=[f"other.type_{n}" for n in range(FILTERS)],
        heartbeat=float(os.environ.get("BENCH_HEARTBEAT", "15")),
        streams_per_tenant=20_000,
        calls_per_second=0,
        streams_per_process=20_000,
        deliver=False,
    )

    async def burst(request: Request) -> JSONResponse:
        count = int(request.query_params["n"])
        request.state.webhooks.emit_many([(EVENT_TYPE, _DATA)] * count)
        return JSONResponse({"ok": True})

    async def fill(request: Request) -> JSONResponse:
        events = await request.state.webhooks.emit_many([(EVENT_TYPE, _DATA)] * 101)
        return JSONResponse({"first": events[0].id})

    routes = [
        Mount("/webhooks", app=webhooks),
        Route("/burst", burst, methods=["POST"]),
        Route("/fill", fill, methods=["POST"]),
        LagProbe().route,
    ]
    return Starlette(routes=routes, middleware=[Middleware(WebhooksMiddleware, webhooks=webhooks)])


def _peer(stream: Callable[..., Any], queues: set[asyncio.Queue[Any]], item: Any) -> list[Route]:
    async def burst(request: Request) -> JSONResponse:
        for _ in range(int(request.query_params["n"])):
            for queue in queues:
                queue.put_nowait(item)
        return JSONResponse({"ok": True})

    return [Route("/stream", stream), Route("/burst", burst, methods=["POST"]), LagProbe().route]


def sse_starlette() -> Starlette:
    """One queue per connection, and frames encoded in advance: the fastest way to use sse-starlette."""
    from sse_starlette import EventSourceResponse

    queues: set[asyncio.Queue[Any]] = set()

    async def stream(request: Request) -> Response:
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def events() -> AsyncIterator[Any]:
            queues.add(queue)
            try:
                while True:
                    yield await queue.get()
            finally:
                queues.discard(queue)

        return EventSourceResponse(events(), ping=int(float(os.environ.get("BENCH_HEARTBEAT", "15"))))

    return Starlette(routes=_peer(stream, queues, _FRAME))


def fastapi() -> Any:
    """FastAPI's own SSE, which encodes for each connection."""
    from fastapi import FastAPI
    from fastapi.sse import EventSourceResponse, ServerSentEvent

    queues: set[asyncio.Queue[Any]] = set()
    app = FastAPI()

    @app.get("/stream", response_class=EventSourceResponse)
    async def stream() -> AsyncIterator[ServerSentEvent]:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        queues.add(queue)
        try:
            while True:
                yield ServerSentEvent(raw_data=await queue.get(), id=_ID)
        finally:
            queues.discard(queue)

    app.routes.extend(_peer(stream, queues, _BODY)[1:])
    return app


class Floor(asyncio.Protocol):
    """The loop's own transport, sending as many bytes."""

    readers: set[asyncio.Transport] = set()
    chunk = b"%x\r\n%b\r\n" % (len(_FRAME), _FRAME)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Open a stream, or write to all."""
        if data.startswith(b"GET"):
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            self.transport.write(head)
            Floor.readers.add(self.transport)
            return
        for _ in range(int(data.split(b"n=", 1)[1].split(b" ", 1)[0])):
            for reader in Floor.readers:
                reader.write(self.chunk)
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the transport."""
        Floor.readers.discard(self.transport)


async def floor(port: int) -> None:
    """Serve forever."""
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(floor(int(sys.argv[1])))
