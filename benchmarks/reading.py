"""Reading a long log: pages at its head and deep in it, rare types, single events, attempts."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.harness import Figures, Report, Scale, workdir
from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.events import EventQuery
from starlette_webhooks.stores.sqlite import attempts, log
from starlette_webhooks.stores.sqlite.queries import read_sql

__all__ = ["fill", "run", "timed"]

EPOCH = 1_780_000_000_000
_PAYLOAD = b'{"type":"t","timestamp":"2026-01-01T00:00:00.000Z","data":{"n":1,"text":"%b"}}' % (b"x" * 220)
# Nine of ten events belong to one tenant and have three common types. One in 10,000 has the type `rare`.
_FILL = """
INSERT INTO event (id, tenant, type, timestamp, payload)
WITH RECURSIVE n (i) AS (SELECT :start UNION ALL SELECT i + 1 FROM n WHERE i < :stop - 1)
SELECT printf('msg_%027d', i), CASE WHEN i % 10 THEN 'big' ELSE 't' || (i / 10 % :tenants) END,
       CASE WHEN i % 10000 = 1 THEN 'rare' ELSE 'common.' || (i % 3) END, :epoch + i * 100, :payload
FROM n
"""


def fill(path: Path, events: int, tenants: int = 1000) -> sqlite3.Connection:
    """Create a database with this many events."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA cache_size = -32768; {read_sql('schema.sql')}")
    connection.execute("PRAGMA synchronous = OFF")
    for start in range(0, events, 200_000):
        stop = min(start + 200_000, events)
        values = {"start": start, "stop": stop, "tenants": tenants, "epoch": EPOCH, "payload": _PAYLOAD}
        connection.execute(_FILL, values)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return connection


def timed(function: Callable[[], object], times: int) -> list[float]:
    """Return the milliseconds of each call after a warm-up."""
    function()
    samples = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        samples.append((time.perf_counter() - began) * 1000)
    return samples


def run(scale: Scale) -> Report:
    """Measure the queries of the routes on one connection."""
    report = Report("reading")
    events = scale.pick(5_000_000, 200_000)
    with workdir() as directory:
        connection = fill(directory / "log.db", events)
        deep = f"msg_{events // 5:027d}"
        absent = tuple(f"absent.{n}" for n in range(18))
        queries: dict[str, Callable[[], object]] = {
            "page of 50 at the head": partial(_page, connection),
            f"page of 50, {events * 4 // 5:,} events deep": partial(_page, connection, cursor=deep),
            "page of 50, of a small tenant": partial(_page, connection, tenant="t7"),
            "page of 50, 1 common type": partial(_page, connection, event_types=("common.1",)),
            "page of 50, 3 common types": partial(_page, connection, event_types=("common.0", "common.1", "common.2")),
            "page of 50, rare and absent type": partial(_page, connection, event_types=("rare", "absent")),
            "page of 50, 20 types": partial(_page, connection, event_types=("rare", "common.1", *absent)),
            "one event": partial(log.get_event, connection, "big", f"msg_{events // 2 + 1:027d}"),
            "attempts of one event": partial(_attempts, connection, f"msg_{events // 2 + 1:027d}"),
        }
        figures = {}
        for name, query in queries.items():
            figures[name] = Figures({"ms": timed(query, scale.pick(200, 50))})
            figures[name].samples["p50"] = [figures[name].median("ms")]
        report.table(f"A log of {events:,} events, warm", figures, {"p50": "p50 ms", "ms": "median ms and range"})
    head, far = (figures[name].median("ms") for name in list(queries)[:2])
    report.goal("page deep in the log over the head, or the other way", max(far / head, head / far), 3)
    slowest = max(one.median("ms") for name, one in figures.items() if "type" in name)
    report.goal("slowest filter by types, ms", slowest, 2)
    return report


def _page(
    connection: sqlite3.Connection,
    *,
    tenant: str = "big",
    event_types: tuple[str, ...] = (),
    cursor: str | None = None,
) -> bytes:
    query = EventQuery(limit=50, cursor=cursor, event_types=event_types)
    return b",".join(event.encode() for event in log.list_events(connection, tenant, query).items)


def _attempts(connection: sqlite3.Connection, event: str) -> object:
    return attempts.list_attempts(connection, "big", AttemptQuery(event_id=event))
