"""The log: durable events a second with many callers, beside the least that SQLite could do for them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial

from benchmarks.emit import BODY, EVENT_TYPE, make_webhooks
from benchmarks.harness import Report, Scale, interleave, run_json, workdir

_INSERT = """INSERT INTO event (id, tenant, type, timestamp, event_id, channels, payload)
VALUES (?, ?, ?, ?, NULL, NULL, ?)"""


def run(scale: Scale) -> Report:
    """Measure `await emit(...)` of 256 tasks beside the same rows in bare group commits."""
    report = Report("log")
    seconds = scale.pick(3.0, 1.0)
    for callers in scale.pick((1, 32, 256), (256,)):
        contenders = {
            "ours: check, encode, mint, commit": partial(run_json, "log", "ours", callers, seconds),
            "bare sqlite3 group commit, rows made in advance": partial(run_json, "log", "floor", callers, seconds),
        }
        figures = interleave(contenders, scale.pick(scale.repeats, 1))
        columns = {"rate": "durable events/s", "cpu_us": "CPU µs/event"}
        report.table(f"The log, synchronous=FULL, {callers} callers", figures, columns)
        if callers == 256:
            ours, floor = figures.values()
            report.goal("durable events/s at 256 callers", ours.median("rate"), 30_000, at_least=True)
            report.goal("bare group commit over ours, events/s", floor.median("rate") / ours.median("rate"), 1.3)
            report.goal("CPU of ours over the bare group commit", ours.median("cpu_us") / floor.median("cpu_us"), 1.3)
    return report


async def _call(one: Callable[[], Awaitable[object]], callers: int, seconds: float) -> dict[str, float]:
    count = 0
    running = True

    async def caller() -> None:
        nonlocal count
        while running:
            await one()
            count += 1

    tasks = [asyncio.ensure_future(caller()) for _ in range(callers)]
    await asyncio.sleep(0.3)
    began, cpu, before = time.perf_counter(), time.process_time(), count
    await asyncio.sleep(seconds)
    done, wall, cpu = count - before, time.perf_counter() - began, time.process_time() - cpu
    running = False
    await asyncio.gather(*tasks)
    return {"rate": done / wall, "cpu_us": cpu / done * 1e6}


async def ours(callers: int, seconds: float) -> dict[str, float]:
    """Emitters of the library, outside requests."""
    import json

    data = json.loads(BODY)
    with workdir() as directory:
        os.environ["BENCH_DATABASE"] = str(directory / "log.db")
        webhooks = make_webhooks(deliver=False)
        async with webhooks.lifespan():
            emitter = webhooks.emitter("acme")

            async def emit() -> None:
                await emitter.emit(EVENT_TYPE, data)

            return await _call(emit, callers, seconds)


async def floor(callers: int, seconds: float) -> dict[str, float]:
    """A list, a thread and a future for each caller: the rows go into our own schema in one transaction a turn."""
    from starlette_webhooks.backends.sqlite.queries import read_sql

    with workdir() as directory:
        connection = sqlite3.connect(directory / "log.db", isolation_level=None, check_same_thread=False)
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768")
        connection.executescript(read_sql("schema.sql"))
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[None]] = []
        kicked = asyncio.Event()
        number = 0
        payload = BODY.encode()

        def commit(rows: list[tuple[str, str, str, int, bytes]]) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_INSERT, rows)
            connection.execute("COMMIT")

        async def flush() -> None:
            nonlocal number
            while True:
                await kicked.wait()
                kicked.clear()
                batch = waiting[:]
                waiting.clear()
                stamp = int(time.time() * 1000)
                numbers = range(number, number + len(batch))
                rows = [(f"msg_{n:027}", "acme", EVENT_TYPE, stamp, payload) for n in numbers]
                number = numbers.stop
                await loop.run_in_executor(None, commit, rows)
                for future in batch:
                    future.set_result(None)

        async def emit() -> None:
            future = loop.create_future()
            waiting.append(future)
            kicked.set()
            await future

        flusher = asyncio.ensure_future(flush())
        result = await _call(emit, callers, seconds)
        flusher.cancel()
        connection.close()
        return result


if __name__ == "__main__":
    import json

    print(json.dumps(asyncio.run(globals()[sys.argv[1]](int(sys.argv[2]), float(sys.argv[3])))))
