"""The processes of the subject `postgresql`. Each prints its figures as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from benchmarks.app import BODY, EVENT_TYPE, make_webhooks
from benchmarks.deliveries import ENDPOINTS, ask
from benchmarks.load import percentile
from benchmarks.log import call

_SETTINGS: dict[str, Any] = {"allow_networks": "127.0.0.0/8", "endpoints_per_tenant": 1000, "queue_events": 100_000}


def _server_cpu() -> float:
    """Return the CPU seconds of the PostgreSQL server with all its backends, including those that have ended."""
    if "BENCH_SERVER_PID" not in os.environ:
        return 0.0
    import psutil  # type: ignore[import-untyped]

    postmaster = psutil.Process(int(os.environ["BENCH_SERVER_PID"]))
    total = float(sum(postmaster.cpu_times()[:4]))
    for child in postmaster.children():
        with suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:2])
    return total


class _Meter:
    """Measures the CPU of this process and of the server, and the time, from its creation."""

    def __init__(self) -> None:
        self._start = (time.process_time(), _server_cpu(), time.perf_counter())

    async def read(self, seconds: float = 0.2) -> dict[str, float]:
        """Return the figures so far, with the CPU of some more seconds for the last records."""
        wall = time.perf_counter() - self._start[2]
        await asyncio.sleep(seconds)
        return {"cpu": time.process_time() - self._start[0], "server": _server_cpu() - self._start[1], "wall": wall}


def _make_webhooks(**settings: Any) -> Any:
    return make_webhooks(**_SETTINGS, **settings)


# The log


async def _call(one: Callable[[], Awaitable[object]], callers: int, seconds: float) -> dict[str, float]:
    before = _server_cpu()
    result = await call(one, callers, seconds)
    # The server also works for the calls before and after the measured part, as the first and the last are not counted.
    return result | {"server_us": (_server_cpu() - before) / (result["rate"] * (seconds + 0.3)) * 1e6}


async def log_ours(callers: int, seconds: float) -> dict[str, float]:
    """Emitters of the library, outside requests."""
    data = json.loads(BODY)
    webhooks = _make_webhooks(deliver=False)
    async with webhooks.lifespan():
        emitter = webhooks.emitter("acme")

        async def emit() -> None:
            await emitter.emit(EVENT_TYPE, data)

        return await _call(emit, callers, seconds)


class GroupCommit:
    """What a careful developer would write: a thread that inserts all waiting rows with one statement of psycopg."""

    def __init__(self, url: str) -> None:
        import psycopg

        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(
            "CREATE TABLE by_hand (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL, "
            "tenant text NOT NULL, type text NOT NULL, timestamp bigint NOT NULL, event_id text, "
            "payload bytea NOT NULL)"
        )
        self._connection.execute("CREATE UNIQUE INDEX ON by_hand (tenant, id)")
        self._connection.execute("CREATE INDEX ON by_hand (tenant, type, id)")
        self._connection.execute("CREATE UNIQUE INDEX ON by_hand (tenant, event_id) WHERE event_id IS NOT NULL")
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[asyncio.Future[None], tuple[str, str, str, int, bytes]]] = []
        self._busy = False
        self._batches: SimpleQueue[Any] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    async def emit(self, row: tuple[str, str, str, int, bytes]) -> None:
        """Wait until the row is durable."""
        future = self._loop.create_future()
        self._waiting.append((future, row))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._pass_on)
        await future

    def _pass_on(self) -> None:
        self._batches.put(self._waiting)
        self._waiting = []

    def _run(self) -> None:
        statement = (
            "INSERT INTO by_hand (id, tenant, type, timestamp, payload) "
            "SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bytea[])"
        )
        while True:
            batch = self._batches.get()
            columns = [list(column) for column in zip(*(row for _, row in batch), strict=True)]
            self._connection.execute(statement, columns)
            self._loop.call_soon_threadsafe(self._finish, [future for future, _ in batch])

    def _finish(self, futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            if not future.done():
                future.set_result(None)
        # The woken callers return first, so that a batch contains all of them.
        self._loop.call_soon(self._continue, 3)

    def _continue(self, turns: int) -> None:
        if turns:
            self._loop.call_soon(self._continue, turns - 1)
        elif self._waiting:
            self._pass_on()
        else:
            self._busy = False


async def log_by_hand(callers: int, seconds: float) -> dict[str, float]:
    """Encoded events with time and id, in group commits."""
    from datetime import UTC, datetime
    from uuid import uuid4

    data = json.loads(BODY)
    log = GroupCommit(os.environ["BENCH_DATABASE"])

    async def emit() -> None:
        now = datetime.now(UTC)
        payload = json.dumps({"type": EVENT_TYPE, "timestamp": now.isoformat(), "data": data}).encode()
        await log.emit((f"msg_{uuid4().hex}", "acme", EVENT_TYPE, int(now.timestamp() * 1000), payload))

    return await _call(emit, callers, seconds)


# Deliveries. The receiver counts, and the caller measures the CPU of all processes.


async def _until_received(port: int, count: int) -> None:
    while ask(port, "/")["count"] < count:
        await asyncio.sleep(0.02)


async def subscribe(port: int, tenants: int) -> dict[str, float]:
    """Create three endpoints per tenant, each on its own host."""
    from starlette_webhooks.endpoints import EndpointChanges

    webhooks = _make_webhooks(deliver=False)
    async with webhooks.lifespan():
        for n in range(tenants * ENDPOINTS):
            url = f"http://127.0.{n // 250}.{n % 250 + 1}:{port}/hook"
            await webhooks.backend.create_endpoint(f"t{n // ENDPOINTS}", EndpointChanges(url=url))
    return {}


async def _open_connections(emitter: Any, port: int, tenants: int) -> None:
    for n in range(tenants):
        await emitter.emit(EVENT_TYPE, {}, tenant=f"t{n}")
    await _until_received(port, tenants * ENDPOINTS)
    ask(port, "/reset")


async def deliver(port: int, tenants: int, events: int, start: float, rate: float) -> dict[str, float]:
    """Emit from `start` on, and deliver together with other processes until everything has been received.

    Args:
        events: How many this process emits. The receiver is reset before.
        rate: Events per second, after one event to each tenant that opens the connections. 0 means as fast as possible.
    """
    webhooks = _make_webhooks()
    async with webhooks.lifespan():
        emitter = webhooks.emitter()
        if rate:
            await _open_connections(emitter, port, tenants)
        await asyncio.sleep(max(start - time.time(), 0))
        meter, began = _Meter(), time.perf_counter()
        for n in range(events):
            if rate and (wait := n / rate - (time.perf_counter() - began)) > 0:
                await asyncio.sleep(wait)
            emission = emitter.emit(EVENT_TYPE, {"at": f"~{time.time()}"}, tenant=f"t{n % tenants}")
            if n % 200 == 199:
                await emission
        await _until_received(port, int(os.environ["BENCH_TOTAL"]))
        return await meter.read()


# Peers: the same POST as a job.


async def _post(session: Any, port: int, n: int) -> None:
    url = f"http://127.0.{n // 250 % 2}.{n % 250 + 1}:{port}/hook"
    async with session.post(url, data=BODY.encode()) as response:
        await response.read()


async def procrastinate(port: int, jobs: int) -> dict[str, float]:
    """`procrastinate`, 100 jobs at a time."""
    import aiohttp
    import procrastinate as library

    app = library.App(connector=library.PsycopgConnector(conninfo=os.environ["BENCH_DATABASE"]))
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    @app.task(name="post")
    async def post(n: int) -> None:
        await _post(session, port, n)

    async with app.open_async(), session:
        await app.schema_manager.apply_schema_async()
        meter = _Meter()
        for first in range(0, jobs, 500):
            given: list[Any] = [{"n": n} for n in range(first, min(first + 500, jobs))]
            await post.batch_defer_async(*given)
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=100, install_signal_handlers=False, delete_jobs="successful")
        )
        return await _finish(worker, port, jobs, meter)


async def pgqueuer(port: int, jobs: int) -> dict[str, float]:
    """`pgqueuer` on asyncpg, its faster driver; 100 jobs a query."""
    import aiohttp
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgPoolDriver
    from pgqueuer.queries import Queries

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    async with asyncpg.create_pool(os.environ["BENCH_DATABASE"], min_size=2) as pool, session:
        driver = AsyncpgPoolDriver(pool)
        queries = Queries(driver)
        await queries.install()
        queuer = PgQueuer(driver)

        @queuer.entrypoint("post")
        async def post(job: Any) -> None:
            await _post(session, port, int(job.payload))

        meter = _Meter()
        for first in range(0, jobs, 500):
            payloads: list[bytes | None] = [str(n).encode() for n in range(first, min(first + 500, jobs))]
            await queries.enqueue(["post"] * len(payloads), payloads, [0] * len(payloads))
        worker = asyncio.create_task(queuer.run(batch_size=100))
        return await _finish(worker, port, jobs, meter)


async def _finish(worker: asyncio.Task[None], port: int, jobs: int, meter: _Meter) -> dict[str, float]:
    await _until_received(port, jobs)
    result = await meter.read()
    worker.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(worker, 5)
    return result


# Streams


async def watch(port: int, events: int) -> dict[str, float]:
    """Serve a stream, read it, and measure the time from another process's emit to the frame."""
    import httpx
    import uvicorn
    from starlette.applications import Starlette

    webhooks = _make_webhooks(deliver=False)
    app = Starlette(lifespan=lambda app: webhooks.lifespan())
    app.mount("/webhooks", webhooks)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
    lags: list[float] = []
    async with httpx.AsyncClient(timeout=60) as client:
        async with client.stream("GET", f"http://127.0.0.1:{port}/webhooks/events/stream") as response:
            async for line in response.aiter_lines():
                if line.startswith("data:"):
                    at = line.index("~")
                    lags.append(time.time() - float(line[at + 1 : line.index('"', at)]))
                    if len(lags) == events:
                        break
    server.should_exit = True
    await serving
    lags.sort()
    return {"p50_ms": percentile(lags, 0.5) * 1e3, "p99_ms": percentile(lags, 0.99) * 1e3}


async def trickle(port: int, events: int) -> dict[str, float]:
    """Once a stream is open on the port, emit 50 events a second."""
    webhooks = _make_webhooks(deliver=False)
    async with webhooks.lifespan():
        await asyncio.sleep(1)
        emitter = webhooks.emitter("acme")
        for _ in range(events):
            await emitter.emit(EVENT_TYPE, {"at": f"~{time.time()}"})
            await asyncio.sleep(0.02)
    return {}


def main() -> None:
    """Run as a process: the name of a function, and numbers."""
    name, *given = sys.argv[1:]
    function: Callable[..., Awaitable[dict[str, float]]] = globals()[name]
    numbers = [float(one) if "." in one else int(one) for one in given]

    async def run() -> dict[str, float]:
        return await function(*numbers)

    print(json.dumps(asyncio.run(run())))


if __name__ == "__main__":
    main()
