"""The log: durable events per second with many callers, compared with the minimum of work in SQLite."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias

from benchmarks.app import BODY, EVENT_TYPE, make_webhooks
from benchmarks.harness import Report, Scale, interleave, run_json, workdir

_INSERT = """INSERT INTO event (id, tenant, type, timestamp, event_id, channels, payload)
VALUES (?, ?, ?, ?, NULL, NULL, ?)"""

Row: TypeAlias = tuple[str, str, str, int, bytes]


def run(scale: Scale) -> Report:
    """Measure `await emit(...)` of 256 tasks, compared with the same rows in bare group commits."""
    report = Report("log")
    seconds = scale.pick(3.0, 1.0)
    for callers in scale.pick((1, 32, 256), (256,)):
        contenders = {
            "ours: check, encode, mint, commit": partial(run_json, "log", "ours", callers, seconds),
            "a group commit by hand: json.dumps, uuid4, the same tables": partial(
                run_json, "log", "by_hand", callers, seconds
            ),
            "bare sqlite3 group commit, rows made in advance": partial(run_json, "log", "floor", callers, seconds),
        }
        figures = interleave(contenders, scale.pick(scale.repeats, 1))
        columns = {"rate": "durable events/s", "cpu_us": "CPU µs/event"}
        report.table(f"The log, synchronous=FULL, callers: {callers}", figures, columns)
        if callers == 256:
            ours, hand, floor = figures.values()
            report.goal("durable events/s at 256 callers", ours.median("rate"), 30_000, at_least=True)
            report.goal("group commit by hand over ours, events/s", hand.median("rate") / ours.median("rate"), 1.3)
            report.goal("bare group commit over ours, events/s", floor.median("rate") / ours.median("rate"), 1.3)
            report.goal("CPU of ours over the bare group commit", ours.median("cpu_us") / floor.median("cpu_us"), 1.3)
    return report


async def call(one: Callable[[], Awaitable[object]], callers: int, seconds: float) -> dict[str, float]:
    """Call a function from many tasks for a time. Returns calls per second, and the CPU of this process per call."""
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

            return await call(emit, callers, seconds)


class BareGroupCommit:
    """The minimum cost of a durable event: ready-made rows in our schema, one transaction for all waiting callers.

    Its own thread commits, and takes the next batch a few turns of the loop after the last one. There are no checks,
    ids, deliveries, streams or limits, and only one process.
    """

    def __init__(self, path: str) -> None:
        from starlette_webhooks.stores.sqlite.queries import read_sql

        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
        self._connection.executescript(f"PRAGMA cache_size = -32768; {read_sql('schema.sql')}")
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[asyncio.Future[None], Row | None]] = []
        self._busy = False
        self._number = 0
        self._payload = BODY.encode()
        self._batches: SimpleQueue[list[tuple[asyncio.Future[None], Row | None]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    async def emit(self, row: Row | None = None) -> None:
        """Wait until one more row is durable."""
        future = self._loop.create_future()
        self._waiting.append((future, row))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._hand_over, 0)
        await future

    def close(self) -> None:
        """End the thread."""
        self._batches.put(None)
        self._thread.join()
        self._connection.close()

    def _hand_over(self, turns: int) -> None:
        if turns:
            self._loop.call_soon(self._hand_over, turns - 1)
            return
        batch, self._waiting = self._waiting, []
        self._busy = bool(batch)
        if batch:
            self._batches.put(batch)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            stamp = int(time.time() * 1000)
            numbers = range(self._number, self._number + len(batch))
            rows = [
                row or (f"msg_{n:027}", "acme", EVENT_TYPE, stamp, self._payload)
                for n, (_, row) in zip(numbers, batch, strict=True)
            ]
            self._number = numbers.stop
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_INSERT, rows)
            self._connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._answer, batch)

    def _answer(self, batch: list[tuple[asyncio.Future[None], Row | None]]) -> None:
        for future, _ in batch:
            future.set_result(None)
        self._hand_over(4 if len(batch) > 1 else 0)


async def by_hand(callers: int, seconds: float) -> dict[str, float]:
    """What a careful developer would write: encoded events with time and id, in group commits."""
    import json
    from datetime import UTC, datetime
    from uuid import uuid4

    data = json.loads(BODY)
    with workdir() as directory:
        log = BareGroupCommit(str(directory / "log.db"))

        async def emit() -> None:
            now = datetime.now(UTC)
            payload = json.dumps({"type": EVENT_TYPE, "timestamp": now.isoformat(), "data": data}).encode()
            await log.emit((f"msg_{uuid4().hex}", "acme", EVENT_TYPE, int(now.timestamp() * 1000), payload))

        result = await call(emit, callers, seconds)
        log.close()
        return result


async def floor(callers: int, seconds: float) -> dict[str, float]:
    """Ready-made rows in bare group commits."""
    with workdir() as directory:
        log = BareGroupCommit(str(directory / "log.db"))
        result = await call(log.emit, callers, seconds)
        log.close()
        return result


if __name__ == "__main__":
    import json

    print(json.dumps(asyncio.run(globals()[sys.argv[1]](int(sys.argv[2]), float(sys.argv[3])))))
