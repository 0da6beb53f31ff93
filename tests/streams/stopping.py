"""Servers that a program runs, and stops without a signal: `python -m tests.streams.stopping WAY PORT`."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable

import anyio
import hypercorn.asyncio
import hypercorn.config
import hypercorn.trio
import uvicorn
from granian.constants import Interfaces
from granian.server.embed import Server as Granian
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.streams.app import app

stops: list[Callable[[], object]] = []
ended: list[uvicorn.Server] = []


async def stop(request: Request) -> Response:
    stops[0]()
    return Response(status_code=204)


async def stopped(request: Request) -> Response:
    return JSONResponse(len(ended))


app.router.routes += [Route("/stop", stop, methods=["POST"]), Route("/stopped", stopped)]


def uvicorn_here(port: int) -> None:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    stops.append(lambda: setattr(server, "should_exit", True))
    anyio.run(beside, server)


async def beside(server: uvicorn.Server) -> None:
    """Among other tasks of a program."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)


def two_servers(port: int) -> None:
    """The other server, on another port, is the one that stops."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    other = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    stops.append(lambda: setattr(other, "should_exit", True))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve)
            await other.serve()
            ended.append(other)

    anyio.run(main)


def uvicorn_in_a_thread(port: int) -> None:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    stops.append(lambda: setattr(server, "should_exit", True))
    thread = threading.Thread(target=server.run)
    thread.start()
    thread.join()


def hypercorn_on_asyncio(port: int) -> None:
    event = asyncio.Event()
    stops.append(event.set)
    asyncio.run(hypercorn.asyncio.serve(app, configured(port), shutdown_trigger=event.wait))  # type: ignore[arg-type]


def hypercorn_on_trio(port: int) -> None:
    async def main() -> None:
        event = anyio.Event()
        stops.append(event.set)
        await hypercorn.trio.serve(app, configured(port), shutdown_trigger=event.wait)  # type: ignore[arg-type]

    anyio.run(main, backend="trio")


def configured(port: int) -> hypercorn.config.Config:
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    # Longer than the test waits: the streams must end by themselves.
    config.graceful_timeout = 60
    return config


def granian_embedded(port: int) -> None:
    async def main() -> None:
        server = Granian(app, port=port, interface=Interfaces.ASGI)
        stops.append(server.stop)
        await server.serve()

    asyncio.run(main())


if __name__ == "__main__":
    globals()[sys.argv[1]](int(sys.argv[2]))
