"""The processes that deliver, for the subject `dispatcher`. Each prints its figures as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import ssl
import sys
import time
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from benchmarks.app import BODY, EVENT_TYPE, make_webhooks
from benchmarks.harness import free_port, workdir
from benchmarks.load import percentile

ENDPOINTS = 3
"""Endpoints per tenant."""


class AiohttpClient:
    """`DeliveryClient` over aiohttp. The address of each socket is checked when it is created."""

    def __init__(
        self, guard: Any, *, timeout: float = 15.0, ssl_context: ssl.SSLContext | None = None, **_: Any
    ) -> None:
        self._guard = guard
        self._timeout = timeout
        self._ssl_context = ssl_context

    async def __aenter__(self) -> Self:
        import aiohttp

        def pinned(info: Any) -> socket.socket:
            family, kind, protocol, _, address = info
            if not self._guard.is_allowed(address[0]):
                raise OSError("address is not allowed")
            return socket.socket(family, kind, protocol)

        connector = aiohttp.TCPConnector(limit=0, socket_factory=pinned, ssl=self._ssl_context or True)
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, tenant: str = "") -> Any:
        """Send one POST request."""
        from starlette_webhooks.delivery.client import Reply

        began = time.monotonic()
        given = {name.decode(): value.decode() for name, value in headers}
        async with self._session.post(url, data=body, headers=given, allow_redirects=False) as response:
            content = await response.content.read(16_384)
            return Reply(response.status, content, {}, round((time.monotonic() - began) * 1000))


class NoClient(AiohttpClient):
    """A client without HTTP, to measure what the rest costs."""

    async def post(self, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, tenant: str = "") -> Any:
        """Return immediately."""
        from starlette_webhooks.delivery.client import Reply

        return Reply(200, b"ok", {}, 1)


def _choose(client: str) -> None:
    from starlette_webhooks.backends import stored as backend
    from starlette_webhooks.delivery.client import DeliveryClient

    clients: dict[str, Any] = {"own": DeliveryClient, "aiohttp": AiohttpClient, "none": NoClient}
    chosen = clients[client]
    if certificate := os.environ.get("BENCH_CERTIFICATE"):
        chosen = partial(chosen, ssl_context=ssl.create_default_context(cafile=certificate))
    # There is no setting for this, because no host should want it.
    vars(backend)["DeliveryClient"] = chosen


def ask(port: int, path: str) -> Any:
    """Return what the receiver reports about itself."""
    sock = socket.create_connection(("127.0.0.1", port))
    if certificate := os.environ.get("BENCH_CERTIFICATE"):
        context = ssl.create_default_context(cafile=certificate)
        sock = context.wrap_socket(sock, server_hostname="127.0.0.1")
    with sock:
        sock.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        answer = b""
        while True:
            head, mark, body = answer.partition(b"\r\n\r\n")
            if mark and len(body) >= int(head.rsplit(b"content-length: ", 1)[1]):
                return json.loads(body)
            answer += sock.recv(1_048_576)


def _settings(**more: Any) -> dict[str, Any]:
    return {"allow_networks": "127.0.0.0/8", "endpoints_per_tenant": 1000, "queue_events": 100_000, **more}


async def _subscribe(webhooks: Any, tenant: str, url: str) -> None:
    from starlette_webhooks.endpoints import EndpointChanges

    await webhooks.backend.create_endpoint(tenant, EndpointChanges(url=url))


async def _subscribe_all(webhooks: Any, port: int, tenants: int, hosts: int, path: str = "/hook") -> None:
    scheme = "https" if "BENCH_CERTIFICATE" in os.environ else "http"
    for n in range(tenants * ENDPOINTS):
        host = n % hosts
        address = f"127.0.{host // 250}.{host % 250 + 1}"
        await _subscribe(webhooks, f"t{n // ENDPOINTS}", f"{scheme}://{address}:{port}{path}")


async def deliver(port: int, client: str, endpoints: int, hosts: int, path: str, events: int, pending: int) -> Any:
    """Emit to tenants of three endpoints each, and wait until nothing is pending."""
    _choose(client)
    with workdir() as directory:
        database = os.environ["BENCH_DATABASE"] = str(directory / "log.db")
        webhooks = make_webhooks(**_settings())
        async with webhooks.lifespan():
            tenants = endpoints // ENDPOINTS
            await _subscribe_all(webhooks, port, tenants, hosts, path)
            if pending:
                await asyncio.to_thread(_fill, database, pending)
            watcher = sqlite3.connect(database)
            emitter = webhooks.emitter()
            data = json.loads(BODY)

            async def round_of(count: int) -> None:
                for n in range(count):
                    emitter.emit(EVENT_TYPE, data, tenant=f"t{n % tenants}")
                query = "SELECT 1 FROM delivery WHERE endpoint <= ? LIMIT 1"
                await asyncio.sleep(0.1)
                while watcher.execute(query, (endpoints,)).fetchone():
                    await asyncio.sleep(0.02)

            await round_of(tenants * 2)
            theirs = ask(port, "/")["cpu"]
            began, cpu = time.perf_counter(), time.process_time()
            await round_of(events)
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            theirs = ask(port, "/")["cpu"] - theirs
            (failed,) = watcher.execute("SELECT count(*) FROM attempt WHERE NOT ok").fetchone()
            if failed:
                raise RuntimeError(f"{failed} deliveries failed.")
            watcher.close()
    return {
        "cpu_us": cpu / events / ENDPOINTS * 1e6,
        "rate": events * ENDPOINTS / wall,
        "receiver_cpu": theirs / wall * 100,
    }


def _fill(path: str, rows: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    tomorrow = int((time.time() + 86_400) * 1000)
    connection.execute(
        "INSERT INTO delivery (event, endpoint, due) WITH RECURSIVE n (i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "SELECT 100000000 + i, 1000000 + i % 1000, ? FROM n",
        (rows, tomorrow),
    )
    connection.close()


async def prepare(port: int, tenants: int, seconds: float, events: int) -> Any:
    """Create endpoints, and events whose deliveries are all due at the same time, which is returned."""
    webhooks = make_webhooks(**_settings(deliver=False, retry_schedule=f"{seconds},5"))
    async with webhooks.lifespan():
        if tenants:
            await _subscribe_all(webhooks, port, tenants, tenants * ENDPOINTS)
        emitter = webhooks.emitter()
        data = json.loads(BODY)
        count = tenants or 100
        due = time.time() + seconds
        for n in range(events):
            emitter.emit(EVENT_TYPE, data, tenant=f"t{n % count}")
    return {"due": due}


async def work(due: float) -> Any:
    """Deliver until nothing is pending, as one of the processes that share a database."""
    webhooks = make_webhooks(**_settings())
    async with webhooks.lifespan():
        await asyncio.sleep(due - time.time())
        cpu = time.process_time()
        watcher = sqlite3.connect(os.environ["BENCH_DATABASE"])
        while watcher.execute("SELECT 1 FROM delivery LIMIT 1").fetchone():
            await asyncio.sleep(0.05)
        watcher.close()
        return {"cpu": time.process_time() - cpu}


class _Beside:
    """Endpoints beside the healthy one, of the same tenant or each of another, or tenants without endpoints."""

    def __init__(self, kind: str, port: int) -> None:
        whose, _, what = kind.partition("-")
        self.tenants = ["acme"] * 60 if whose == "same" else [f"t{n}" for n in range(60)]
        refused = free_port()
        dead = [f"{port}/dead", f"{refused}/"] * 25
        paths = dead + [f"{port}/slow/3000"] * 10 if what == "bad" else [f"{port}/other"] * 60
        self.urls = [f"http://127.0.1.{n + 1}:{path}" for n, path in enumerate(paths)]
        if what == "none":
            self.urls.clear()
        if whose == "alone":
            self.tenants.clear()

    async def emit(self, emitter: Any) -> None:
        """Emit ten events a second for each other tenant, a sixth of the tenants at a time."""
        tenants = sorted({*self.tenants} - {"acme"})
        while tenants:
            for start in range(6):
                for tenant in tenants[start::6]:
                    emitter.emit(EVENT_TYPE, {"of": tenant}, tenant=tenant)
                await asyncio.sleep(1 / 60)


async def latency(port: int, kind: str, seconds: float) -> Any:
    """Emit ten events a second to one healthy endpoint, with as many others beside it."""
    with workdir() as directory:
        os.environ["BENCH_DATABASE"] = str(directory / "log.db")
        webhooks = make_webhooks(**_settings())
        beside = _Beside(kind, port)
        async with webhooks.lifespan():
            for tenant, url in zip(beside.tenants, beside.urls, strict=False):
                await _subscribe(webhooks, tenant, url)
            await _subscribe(webhooks, "acme", f"http://127.0.0.1:{port}/healthy")
            emitter = webhooks.emitter("acme")
            others = asyncio.create_task(beside.emit(webhooks.emitter())) if beside.tenants else None
            warm_up = int(min(seconds, 3) * 10)
            for n in range(int(seconds * 10) + warm_up):
                if n == warm_up:
                    ask(port, "/reset")
                    cpu = time.process_time()
                await emitter.emit(EVENT_TYPE, {"at": f"~{time.time()}"})
                await asyncio.sleep(0.1)
            cpu = time.process_time() - cpu
            if others is not None:
                others.cancel()
            await asyncio.sleep(0.5)
            answer = ask(port, "/arrivals")
            arrivals = sorted(answer["arrivals"].get("/healthy", [0.0]))
    return {
        "p50_ms": percentile(arrivals, 0.5) * 1e3,
        "p90_ms": percentile(arrivals, 0.9) * 1e3,
        "p99_ms": percentile(arrivals, 0.99) * 1e3,
        "count": len(arrivals),
        "cpu": cpu / seconds * 100,
        "attempts": answer["count"] / seconds,
    }


def main() -> None:
    """Run as a process."""
    what, *rest = sys.argv[1:]
    if what == "deliver":
        port, client, endpoints, hosts, path, events, pending = rest
        result = asyncio.run(deliver(int(port), client, int(endpoints), int(hosts), path, int(events), int(pending)))
    elif what == "latency":
        port, kind, seconds = rest
        result = asyncio.run(latency(int(port), kind, float(seconds)))
    elif what == "prepare":
        port, tenants, seconds, events = rest
        result = asyncio.run(prepare(int(port), int(tenants), float(seconds), int(events)))
    else:
        (due,) = rest
        result = asyncio.run(work(float(due)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
