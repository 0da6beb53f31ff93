"""The dispatcher: from emit to the recorded attempt, beside the same loop over aiohttp."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Self

from benchmarks.emit import BODY, EVENT_TYPE, make_webhooks
from benchmarks.harness import Report, Sample, Scale, command, free_port, interleave, run_json, serve, workdir
from benchmarks.load import percentile

_ENDPOINTS = 3


def run(scale: Scale) -> Report:
    """Measure deliveries to many hosts, with rows that wait, idle, and beside endpoints that fail."""
    report = Report("dispatcher")
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(serve(command("receiver", port), port))
        events = scale.pick(1500, 300)

        def deliver(client: str, hosts: int, pending: int = 0) -> Callable[[], Sample]:
            return partial(run_json, "dispatcher", "deliver", port, client, hosts, events, pending)

        waiting = scale.pick(1_000_000, 20_000)
        contenders = {
            "ours, 300 hosts": deliver("own", 300),
            "ours, 501 hosts": deliver("own", 501),
            "ours, 501 hosts, all connections kept": deliver("wide", 501),
            "ours, 3 hosts": deliver("own", 3),
            f"ours, 300 hosts, {waiting:,} other rows pending": deliver("own", 300, waiting),
            "the same loop over aiohttp, 300 hosts": deliver("aiohttp", 300),
            "the same loop without HTTP, 300 hosts": deliver("none", 300),
        }
        figures = interleave(contenders, scale.pick(3, 1))
        columns = {"cpu_us": "CPU µs/delivery", "rate": "deliveries/s"}
        report.table(f"Emit, {_ENDPOINTS} endpoints each, sign, POST, record", figures, columns)
        own, many, _, few, full, peer, _ = (one.median("cpu_us") for one in figures.values())
        report.goal("CPU over the same loop over aiohttp", own / peer, 1.3)
        report.goal("CPU at 501 hosts over 3 hosts", many / few, 1.2)
        report.goal(f"CPU with {waiting:,} rows pending over none", full / own, 2)
        seconds = scale.pick(8, 2)
        beside = {
            "idle, one endpoint": partial(run_json, "dispatcher", "latency", port, 0, 0, seconds),
            "beside 50 dead and 10 slow": partial(run_json, "dispatcher", "latency", port, 50, 10, seconds),
        }
        figures = interleave(beside, scale.pick(3, 1))
        columns = {"p50_ms": "p50 ms", "p99_ms": "p99 ms", "count": "events"}
        report.table("From emit to arrival at a healthy endpoint, 10 events/s", figures, columns)
        alone, crowded = figures.values()
        report.goal("emit to arrival, idle, p50 ms", alone.median("p50_ms"), 10)
        ratio = crowded.median("p99_ms") / alone.median("p99_ms")
        report.goal("p99 beside 50 dead and 10 slow endpoints over alone", ratio, 1.2)
    return report


class AiohttpClient:
    """`DeliveryClient` over aiohttp, with the address of each socket judged as it is made."""

    def __init__(self, guard: Any, *, timeout: float = 15.0, **_: Any) -> None:
        self._guard = guard
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        import aiohttp

        def pinned(info: Any) -> socket.socket:
            family, kind, protocol, _, address = info
            if not self._guard.is_allowed(address[0]):
                raise OSError("address is not allowed")
            return socket.socket(family, kind, protocol)

        connector = aiohttp.TCPConnector(limit=0, socket_factory=pinned)
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Any:
        """Send one POST request."""
        from starlette_webhooks.client import Reply

        began = time.monotonic()
        given = {name.decode(): value.decode() for name, value in headers}
        async with self._session.post(url, data=body, headers=given, allow_redirects=False) as response:
            content = await response.content.read(16_384)
            return Reply(response.status, content, {}, round((time.monotonic() - began) * 1000))


class NoClient(AiohttpClient):
    """No HTTP at all, for what the rest costs."""

    async def post(self, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Any:
        """Answer at once."""
        from starlette_webhooks.client import Reply

        return Reply(200, b"ok", {}, 1)


def _choose(client: str) -> None:
    from starlette_webhooks.backends.sqlite import backend
    from starlette_webhooks.client import DeliveryClient

    clients: dict[str, Any] = {
        "own": DeliveryClient,
        "wide": partial(DeliveryClient, max_idle=2000),
        "aiohttp": AiohttpClient,
        "none": NoClient,
    }
    # There is no setting for it, as no host should want one.
    vars(backend)["DeliveryClient"] = clients[client]


def _ask(port: int, path: str) -> Any:
    with socket.create_connection(("127.0.0.1", port)) as sock:
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


async def deliver(port: int, client: str, hosts: int, events: int, pending: int) -> dict[str, float]:
    """Emit to tenants of three endpoints each, and wait until nothing is pending."""
    _choose(client)
    with workdir() as directory:
        path = os.environ["BENCH_DATABASE"] = str(directory / "log.db")
        webhooks = make_webhooks(**_settings())
        async with webhooks.lifespan():
            tenants = max(hosts // _ENDPOINTS, 100)
            for n in range(tenants * _ENDPOINTS):
                host = n % hosts
                url = f"http://127.0.{host // 250}.{host % 250 + 1}:{port}/hook"
                await _subscribe(webhooks, f"t{n // _ENDPOINTS}", url)
            if pending:
                await asyncio.to_thread(_fill, path, pending)
            watcher = sqlite3.connect(path)
            emitter = webhooks.emitter()
            data = json.loads(BODY)

            async def round_of(count: int) -> None:
                for n in range(count):
                    emitter.emit(EVENT_TYPE, data, tenant=f"t{n % tenants}")
                query = "SELECT 1 FROM delivery WHERE endpoint <= ? LIMIT 1"
                await asyncio.sleep(0.1)
                while watcher.execute(query, (tenants * _ENDPOINTS,)).fetchone():
                    await asyncio.sleep(0.02)

            await round_of(tenants * 2)
            began, cpu = time.perf_counter(), time.process_time()
            await round_of(events)
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            watcher.close()
    return {"cpu_us": cpu / events / _ENDPOINTS * 1e6, "rate": events * _ENDPOINTS / wall}


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


async def latency(port: int, dead: int, slow: int, seconds: float) -> dict[str, float]:
    """Emit ten events a second to one healthy endpoint, with as many bad ones beside it."""
    _ask(port, "/reset")
    with workdir() as directory:
        os.environ["BENCH_DATABASE"] = str(directory / "log.db")
        webhooks = make_webhooks(**_settings())
        async with webhooks.lifespan():
            for n in range(dead):
                await _subscribe(webhooks, "acme", f"http://127.0.1.{n + 1}:{port}/dead")
            for n in range(slow):
                await _subscribe(webhooks, "acme", f"http://127.0.2.{n + 1}:{port}/slow/3000")
            await _subscribe(webhooks, "acme", f"http://127.0.0.1:{port}/healthy")
            emitter = webhooks.emitter("acme")
            for n in range(int(seconds * 10)):
                if n == 10:
                    _ask(port, "/reset")
                await emitter.emit(EVENT_TYPE, {"at": f"~{time.time()}"})
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.5)
            arrivals = sorted(_ask(port, "/arrivals")["arrivals"].get("/healthy", [0.0]))
    return {
        "p50_ms": percentile(arrivals, 0.5) * 1e3,
        "p99_ms": percentile(arrivals, 0.99) * 1e3,
        "count": len(arrivals),
    }


def main() -> None:
    """Run as a process."""
    what, port, *rest = sys.argv[1:]
    if what == "deliver":
        client, hosts, events, pending = rest
        result = asyncio.run(deliver(int(port), client, int(hosts), int(events), int(pending)))
    else:
        dead, slow, seconds = rest
        result = asyncio.run(latency(int(port), int(dead), int(slow), float(seconds)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
