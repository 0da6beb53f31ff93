"""The stream: one event to a thousand readers and more, beside sse-starlette, FastAPI and the bare transport."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from benchmarks.emit import EVENT_TYPE, make_webhooks
from benchmarks.harness import Report, Sample, Scale, command, free_port, interleave, run_json, serve, uvicorn, workdir

# Frames of about 410 bytes. The tilde is what readers count.
_DATA = {"mark": "~", "invoice": "in_1PQ", "amountPaid": 9900, "currency": "eur", "note": "x" * 130}
_ID = "msg_2xYbnVn4gvBVd3z7qjHqSAPrGvi"
_BODY = json.dumps({"id": _ID, "eventType": EVENT_TYPE, "payload": _DATA, "pad": "x" * 90})
_FRAME = f"id: {_ID}\ndata: {_BODY}\n\n".encode()


def ours() -> Starlette:
    """Emit, commit, fan out."""
    from starlette_webhooks import WebhooksMiddleware

    webhooks = make_webhooks(
        heartbeat=float(os.environ.get("BENCH_HEARTBEAT", "15")),
        streams_per_tenant=20_000,
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
    ]
    return Starlette(routes=routes, middleware=[Middleware(WebhooksMiddleware, webhooks=webhooks)])


def _peer(stream: Callable[..., Any], queues: set[asyncio.Queue[Any]], item: Any) -> list[Route]:
    async def burst(request: Request) -> JSONResponse:
        for _ in range(int(request.query_params["n"])):
            for queue in queues:
                queue.put_nowait(item)
        return JSONResponse({"ok": True})

    return [Route("/stream", stream), Route("/burst", burst, methods=["POST"])]


def sse_starlette() -> Starlette:
    """A queue for each connection, and frames encoded in advance: the fastest that sse-starlette does."""
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
    """What the loop's own transport takes for as many bytes."""

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
        """Forget the transport."""
        Floor.readers.discard(self.transport)


async def floor(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


_OURS, _SSE = "ours: emit, commit, stream", "sse-starlette, encoded in advance"
_FASTAPI, _FLOOR = "FastAPI's own SSE", "floor: asyncio transport"
_PATH = {"ours": "/webhooks/events/stream"}


@contextlib.contextmanager
def _server(name: str, *arguments: str, **environment: str) -> Generator[tuple[int, int]]:
    with workdir() as directory:
        port = free_port()
        line = uvicorn(f"benchmarks.stream:{name}", port, "--factory", "--backlog", "4096", *arguments)
        if name == "floor":
            line = command("stream", "floor", port)
        if name == "granian":
            options = ["--interface", "asgi", "--factory", "--port", str(port), "--log-level", "warning"]
            line = [sys.executable, "-m", "granian", "benchmarks.stream:ours", *options]
        with serve(line, port, BENCH_DATABASE=str(directory / "log.db"), **environment) as process:
            yield port, process.pid


def _measure(
    what: str, name: str, *options: Any, arguments: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
) -> Sample:
    with _server(name, *arguments, **(environment or {})) as (port, pid):
        path = "/stream" if name in ("sse_starlette", "fastapi", "floor") else _PATH["ours"]
        sample: Sample = run_json("readers", what, "--port", port, "--pid", pid, "--path", path, *options)
        return sample


_COLUMNS = {
    "cpu_us": "server CPU µs/frame",
    "per_cpu_second": "frames/CPU-second",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "kb": "KB/connection",
    "client_cpu": "client CPU %",
}


def run(scale: Scale) -> Report:
    """Measure fan-out, idle streams and the end of streams."""
    report = Report("stream")
    all_of_them = {_OURS: "ours", _SSE: "sse_starlette", _FASTAPI: "fastapi", _FLOOR: "floor"}
    many = scale.pick(5000, 500)
    for readers, burst in scale.pick(((1000, 1), (1000, 10), (5000, 1)), ((300, 1), (300, 10))):
        names = dict(all_of_them)
        if readers == 5000:
            del names[_FASTAPI]
        options = ["--readers", readers, "--burst", burst, "--seconds", scale.pick(3.0, 0.6)]
        contenders = {title: partial(_measure, "fan_out", name, *options) for title, name in names.items()}
        figures = interleave(contenders, scale.pick(scale.repeats, 1))
        report.table(f"{readers} readers, {burst} events a wake, uvicorn with httptools", figures, _COLUMNS)
        mine, peer, least = figures[_OURS], figures[_SSE], figures[_FLOOR]
        gain = mine.median("per_cpu_second") / peer.median("per_cpu_second")
        if readers != many or scale.short:
            goal = 2 if burst == 1 else 5
            title = f"frames/CPU-second over sse-starlette, {readers} readers, {burst} a wake"
            report.goal(title, gain, goal, at_least=True)
        if burst == 1:
            report.goal(f"CPU over the floor, {readers} readers", mine.median("cpu_us") / least.median("cpu_us"), 3)
        if readers == many:
            report.goal("p99 over sse-starlette's, 5,000 readers", mine.median("p99_ms") / peer.median("p99_ms"), 0.5)
        report.goal(f"KB a connection, {readers} readers", mine.median("kb"), 22)
    _idle(report, scale, many)
    _end(report, scale)
    return report


def _idle(report: Report, scale: Scale, readers: int) -> None:
    options = ["--readers", readers, "--seconds", scale.pick(10.0, 2.0)]
    beats = {"BENCH_HEARTBEAT": "2"}
    contenders: dict[str, Callable[[], Sample]] = {
        title: partial(_measure, "idle", name, *options, environment=beats)
        for title, name in ((_OURS, "ours"), (_SSE, "sse_starlette"))
    }
    if not scale.short:
        contenders["ours, 8,000 connections"] = partial(
            _measure, "idle", "ours", "--readers", 8000, "--seconds", 6, environment=beats
        )
    figures = interleave(contenders, scale.pick(2, 1))
    columns = {"cpu": "CPU % of a core", "kb": "KB/connection", "open": "open at the end"}
    report.table(f"{readers} idle streams with a heartbeat every 2 s", figures, columns)
    report.goal(f"CPU % of {readers} idle streams", figures[_OURS].median("cpu"), 12)


def _end(report: Report, scale: Scale) -> None:
    options = ["--readers", scale.pick(1000, 100)]
    contenders: dict[str, Callable[[], Sample]] = {
        "ours, uvicorn": partial(_measure, "end", "ours", *options),
        "ours, uvicorn --workers 2": partial(_measure, "end", "ours", *options, arguments=("--workers", "2")),
        "ours, granian": partial(_measure, "end", "granian", *options),
        "sse-starlette, uvicorn": partial(_measure, "end", "sse_starlette", *options),
    }
    figures = interleave(contenders, scale.pick(3, 1))
    columns = {"seconds": "seconds until gone", "clean": "streams ended cleanly, %"}
    report.table(f"SIGTERM with {options[1]} open streams", figures, columns)
    for name in list(contenders)[:3]:
        report.goal(f"seconds until gone, {name}", figures[name].median("seconds"), 2)
    storm = {"ours": partial(_measure, "storm", "ours", *options)}
    figures = interleave(storm, scale.pick(3, 1))
    columns = {"seconds": "seconds until all have it", "cpu_us": "server CPU µs/reader", "complete": "complete, %"}
    report.table(f"{options[1]} readers resume at once, 100 events behind", figures, columns)


if __name__ == "__main__":
    asyncio.run(floor(int(sys.argv[2])))
