"""The emit path: what an event costs a route, compared with the usual ways to send events."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.app import BODY, EVENT_TYPE, make_webhooks
from benchmarks.harness import Report, Sample, Scale, command, free_port, interleave, run_json, serve, uvicorn, workdir

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# The servers


async def _pay(request: Request) -> JSONResponse:
    data = await request.json()
    return JSONResponse({"paid": data["amountPaid"]})


async def _pay_and_emit(request: Request) -> JSONResponse:
    data = await request.json()
    request.state.webhooks.emit(EVENT_TYPE, data)
    return JSONResponse({"paid": data["amountPaid"]})


def bare() -> Starlette:
    """The bare route."""
    return Starlette(routes=[Route("/pay", _pay, methods=["POST"])])


def with_pydantic() -> Starlette:
    """The bare route, in a host that uses Pydantic for its settings."""
    from pydantic_settings import BaseSettings

    class Settings(BaseSettings):
        name: str = "host"

    Settings()
    return bare()


def bare_fastapi() -> Any:
    """A FastAPI app with one route."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.post("/pay")
    async def pay(data: dict[str, Any]) -> dict[str, Any]:
        return {"paid": data["amountPaid"]}

    return app


def ours_fastapi() -> Any:
    """The same under the middleware."""
    from starlette_webhooks import WebhooksMiddleware

    app = bare_fastapi()
    app.add_middleware(WebhooksMiddleware, webhooks=make_webhooks())
    return app


def _with_webhooks(handler: Any, **settings: Any) -> Starlette:
    from starlette_webhooks import WebhooksMiddleware

    return Starlette(
        routes=[Route("/pay", handler, methods=["POST"])],
        middleware=[Middleware(WebhooksMiddleware, webhooks=make_webhooks(**settings))],
    )


def idle() -> Starlette:
    """The route with the middleware, without emitting."""
    return _with_webhooks(_pay)


def ours() -> Starlette:
    """The route emits."""
    return _with_webhooks(_pay_and_emit)


def frozen() -> Starlette:
    """Like `ours`, but the garbage collector ignores objects from startup."""
    import gc

    app = ours()
    gc.collect()
    gc.freeze()
    return app


def unflushed() -> Starlette:
    """Like `ours`, without waiting for the commit."""
    return _with_webhooks(_pay_and_emit, flush_before_response=False)


def grouped() -> Starlette:
    """The route waits for a ready-made row in a bare group commit: no checks, ids, encoding, endpoints, streams."""
    from benchmarks.log import BareGroupCommit

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        log = BareGroupCommit(os.environ["BENCH_DATABASE"])
        try:
            yield {"log": log}
        finally:
            log.close()

    async def pay(request: Request) -> JSONResponse:
        data = await request.json()
        await request.state.log.emit()
        return JSONResponse({"paid": data["amountPaid"]})

    return Starlette(routes=[Route("/pay", pay, methods=["POST"])], lifespan=lifespan)


def background() -> Starlette:
    """The route, and a POST to the stub in a `BackgroundTask` with httpx: not durable, not retried, not signed."""
    import httpx

    url = f"http://127.0.0.1:{os.environ['BENCH_STUB']}/hook"

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with httpx.AsyncClient() as client:
            yield {"client": client}

    async def pay(request: Request) -> JSONResponse:
        data = await request.json()
        task = BackgroundTask(request.state.client.post, url, json={"type": EVENT_TYPE, "data": data})
        return JSONResponse({"paid": data["amountPaid"]}, background=task)

    return Starlette(routes=[Route("/pay", pay, methods=["POST"])], lifespan=lifespan)


def svix() -> Starlette:
    """The route, awaiting the Svix SDK against the stub."""
    from svix.api import MessageIn, SvixAsync, SvixOptions

    client = SvixAsync("testsk_x.eu", SvixOptions(server_url=f"http://127.0.0.1:{os.environ['BENCH_STUB']}"))

    async def pay(request: Request) -> JSONResponse:
        data = await request.json()
        await client.message.create("acme", MessageIn(event_type=EVENT_TYPE, payload=data))
        return JSONResponse({"paid": data["amountPaid"]})

    return Starlette(routes=[Route("/pay", pay, methods=["POST"])])


_CONTENDERS = {
    "bare route": "bare",
    "with the middleware, no event": "idle",
    "emits, durable before the response": "ours",
    "the same, `gc.freeze()` at startup": "frozen",
    "emits, flush_before_response off": "unflushed",
    "waits for a bare group commit (floor)": "grouped",
    "BackgroundTask and httpx (peer)": "background",
    "awaits the Svix SDK (peer)": "svix",
}

_ALONE = {
    "`emit`, on the loop's thread": "cost_of_emit",
    "`WebhooksMiddleware`, of a request without events": "cost_of_middleware",
    "the commit, an event of 32, on the other thread": "cost_of_commit",
}


def run(scale: Scale) -> Report:
    """Measure the route under uvicorn, then `emit` and the middleware alone."""
    report = Report("emit")
    with workdir() as directory, ExitStack() as stack:
        stub = free_port()
        stack.enter_context(serve(command("receiver", stub), stub))
        servers = {}
        for name in _CONTENDERS.values():
            port = free_port()
            line = uvicorn(f"benchmarks.emit:{name}", port, "--factory")
            environment = {"BENCH_DATABASE": str(directory / f"{name}.db"), "BENCH_STUB": str(stub)}
            servers[name] = (port, stack.enter_context(serve(line, port, **environment)).pid)
        for callers in scale.pick((1, 32, 256), (32,)):
            _compare(report, scale, servers, callers)
    alone = {title: partial(run_json, "emit", function) for title, function in _ALONE.items()}
    figures = interleave(alone, scale.pick(5, 1))
    report.table("One process, without a server", figures, {"us": "CPU µs"})
    emit, middleware, _ = (one.median("us") for one in figures.values())
    report.goal("`emit`, µs", emit, 15)
    report.goal("the middleware, where nothing is emitted, µs", middleware, 2)
    return report


def _compare(report: Report, scale: Scale, servers: dict[str, tuple[int, int]], callers: int) -> None:
    def measure(factory: str) -> Sample:
        port, pid = servers[factory]
        options = ["--port", port, "--pid", pid, "--path", "/pay", "--body", BODY, "--connections", callers]
        window = ["--seconds", scale.pick(2.0, 0.8), "--warm-up", scale.pick(0.4, 0.3)]
        sample: Sample = run_json("load", *options, *window)
        return sample

    contenders: dict[str, Callable[[], Sample]] = {
        name: partial(measure, factory) for name, factory in _CONTENDERS.items()
    }
    figures = interleave(contenders, scale.pick(scale.repeats, 1))
    floor = figures["bare route"].samples["cpu_us"]
    for one in figures.values():
        one.samples["ratio"] = [cpu / base for cpu, base in zip(one.samples["cpu_us"], floor, strict=True)]
    columns = {
        "cpu_us": "server CPU µs/request",
        "ratio": "CPU, bare = 1",
        "rate": "requests/s",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
        "client_cpu": "client CPU %",
    }
    report.table(f"A route under uvicorn, callers: {callers}", figures, columns)
    if callers == 32:
        ratio = figures["emits, durable before the response"].median("ratio")
        report.goal("CPU of an emitting route over the bare one, 32 callers", ratio, 1.4)
        middleware = figures["with the middleware, no event"].median("cpu_us") - figures["bare route"].median("cpu_us")
        report.goal("the middleware under uvicorn, where nothing is emitted, µs", middleware, 2)


# Alone, in a process each


async def cost_of_emit() -> dict[str, float]:
    """Measure the CPU of `emit` on the loop's thread."""
    import json

    data = json.loads(BODY)
    with workdir() as directory:
        os.environ["BENCH_DATABASE"] = str(directory / "log.db")
        webhooks = make_webhooks(queue_events=100_000)
        async with webhooks.lifespan():
            spent = 0.0
            rounds, each = 100, 100
            for turn in range(rounds + 10):
                emitters = [webhooks.request_emitter({"type": "http"}) for _ in range(each)]
                began = time.thread_time()
                for emitter in emitters:
                    emitter.emit(EVENT_TYPE, data)
                if turn >= 10:
                    spent += time.thread_time() - began
                for emitter in emitters:
                    await emitter.flush()
    return {"us": spent / rounds / each * 1e6}


async def cost_of_middleware() -> dict[str, float]:
    """Measure the CPU that `WebhooksMiddleware` adds to a request of two messages that emits nothing."""
    from starlette_webhooks import WebhooksMiddleware

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ignore(message: Any) -> None:
        pass

    async def nothing() -> Any:
        return {}

    async with make_webhooks().lifespan():
        wrapped = WebhooksMiddleware(app, make_webhooks())
        best = []
        for _ in range(7):
            costs = []
            for target in (app, wrapped):
                began = time.thread_time()
                for _ in range(20_000):
                    await target({"type": "http", "state": {}}, nothing, ignore)
                costs.append((time.thread_time() - began) / 20_000 * 1e6)
            best.append(costs[1] - costs[0])
    return {"us": sorted(best)[3]}


async def cost_of_commit() -> dict[str, float]:
    """Measure the CPU of the worker thread per event, in commits of 32."""
    import json

    data = json.loads(BODY)
    with workdir() as directory:
        os.environ["BENCH_DATABASE"] = str(directory / "log.db")
        webhooks = make_webhooks()
        async with webhooks.lifespan():
            rounds, each = 300, 32
            for turn in range(rounds + 20):
                if turn == 20:
                    began, loop = time.process_time(), time.thread_time()
                emitter = webhooks.request_emitter({"type": "http"})
                for _ in range(each):
                    emitter.emit(EVENT_TYPE, data)
                await emitter.flush()
            whole, own = time.process_time() - began, time.thread_time() - loop
    return {"us": (whole - own) / rounds / each * 1e6}


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(anyio.run(globals()[sys.argv[1]])))
