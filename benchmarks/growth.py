"""How the cost of an emitted event grows with the number of tenants, endpoints, streams and events."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import time
from typing import Any

from benchmarks.app import BODY, EVENT_TYPE, make_webhooks
from benchmarks.harness import Figures, Report, Scale, run_json, workdir
from benchmarks.reading import fill

_EVENTS = 2000
_COMMIT = 50


def run(scale: Scale) -> Report:
    """Measure at three sizes of each."""
    report = Report("growth")
    sizes = {
        "tenants": scale.pick((1, 100, 10_000), (1, 1000)),
        "endpoints": scale.pick((1, 100, 10_000), (1, 1000)),
        "streams": scale.pick((1, 100, 10_000), (1, 1000)),
        "log": scale.pick((1000, 100_000, 5_000_000), (1000, 100_000)),
    }
    figures: dict[str, Figures] = {}
    for _ in range(scale.pick(3, 1)):
        for dimension, steps in sizes.items():
            for size in steps:
                one = figures.setdefault(f"{dimension}: {size:,}", Figures())
                one.add(run_json("growth", dimension, size))
    report.table(f"An event, in commits of {_COMMIT}", figures, {"us": "CPU µs/event"})
    for dimension, steps in sizes.items():
        first, last = (figures[f"{dimension}: {size:,}"].median("us") for size in (steps[0], steps[-1]))
        report.goal(f"{dimension}: cost at the largest over the smallest", last / first, 2)
    return report


async def measure(dimension: str, size: int) -> dict[str, float]:
    """Measure the CPU of this process per event, from emit to commit and fan-out."""
    with workdir() as directory:
        path = os.environ["BENCH_DATABASE"] = str(directory / "log.db")
        if dimension == "log":
            fill(directory / "log.db", size).close()
            _mark_version(path)
        most = 20_000
        webhooks = make_webhooks(
            deliver=False, calls_per_second=0, streams_per_tenant=most, streams_per_process=most, heartbeat=60
        )
        async with webhooks.lifespan():
            if dimension == "endpoints":
                await asyncio.to_thread(_subscribe, path, size)
            tasks = []
            if dimension == "streams":
                tasks = [asyncio.ensure_future(_stream(webhooks)) for _ in range(size)]
                await asyncio.sleep(0.5 + size / 2000)
            emitter = webhooks.emitter()
            data = json.loads(BODY)
            spent = 0.0
            for start in range(0, _EVENTS, _COMMIT):
                began = time.process_time()
                tenants = [f"tenant{(start + n) % size if dimension == 'tenants' else n % 10}" for n in range(_COMMIT)]
                for emission in [emitter.emit(EVENT_TYPE, data, tenant=tenant) for tenant in tenants]:
                    await emission
                spent += time.process_time() - began
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return {"us": spent / _EVENTS * 1e6}


def _mark_version(path: str) -> None:
    from starlette_webhooks.stores.sqlite.migrations import package_migrations
    from starlette_webhooks.stores.sqlite.opening import APPLICATION_ID

    latest = package_migrations()[-1]
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {latest.version}")
    connection.execute("INSERT INTO migration (version, works_with) VALUES (?, ?)", (latest.version, latest.works_with))
    connection.close()


def _subscribe(path: str, endpoints: int) -> None:
    # Three per tenant. The first ten tenants emit.
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    connection.execute("BEGIN IMMEDIATE")
    rows = [(f"tenant{n // 3}", n + 1) for n in range(endpoints)]
    connection.executemany("INSERT INTO subscription (tenant, type, channel, endpoint) VALUES (?, '', '', ?)", rows)
    connection.execute("COMMIT")
    connection.close()


async def _stream(webhooks: Any) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/events/stream",
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    await webhooks(scope, receive, send)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[2])))))
