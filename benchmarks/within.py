"""Emitting within the host's transaction: what it adds to a commit, and how fast committed events get into the log."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio

from benchmarks.app import BODY, EVENT_TYPE
from benchmarks.harness import Report, Sample, Scale, command, interleave, run_json, workdir

__all__ = ["run"]

_DATA = json.loads(BODY)


def _host(directory: Path) -> tuple[Any, Any]:
    """The engine and the tables of a host on SQLite."""
    from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table, create_engine

    engine = create_engine(f"sqlite:///{directory / 'host.db'}")
    metadata = MetaData()
    Table("orders", metadata, Column("id", Integer, primary_key=True), Column("sku", String))
    Table("by_hand", metadata, Column("id", String, primary_key=True), Column("payload", LargeBinary))
    metadata.create_all(engine)
    return engine, metadata.tables


def _webhooks(engine: Any, directory: Path) -> Any:
    from starlette_webhooks import Webhooks, WebhooksSettings
    from starlette_webhooks.outbox import Outbox

    outbox = Outbox(engine)
    outbox.metadata.create_all(engine)
    settings = WebhooksSettings(database=str(directory / "log.db"), deliver=False, handle_signals=False)
    return Webhooks(event_types=[EVENT_TYPE], settings=settings, outbox=outbox)


# What a commit costs


def _commit(way: str, count: int) -> Sample:
    with workdir() as directory:
        return dict(run_json("within", "commit", way, directory, count))


def _measure_commits(way: str, directory: Path, count: int) -> Sample:
    from sqlalchemy.orm import Session, registry

    engine, tables = _host(directory)
    order, entry = type("Order", (), {}), type("Entry", (), {})
    mapping = registry()
    mapping.map_imperatively(order, tables["orders"])
    mapping.map_imperatively(entry, tables["by_hand"])
    emitter = _webhooks(engine, directory).emitter("acme")

    def place(session: Any) -> None:
        one = order()
        one.sku = "socks"
        session.add(one)

    def by_hand(session: Any) -> None:
        place(session)
        one = entry()
        one.id, one.payload = uuid4().hex, json.dumps({"type": EVENT_TYPE, "data": _DATA}).encode()
        session.add(one)

    def ours(session: Any) -> None:
        place(session)
        emitter.emit(EVENT_TYPE, _DATA, within=session)

    work = {"none": place, "hand": by_hand, "within": ours}[way]
    taken = []
    for warm in (True, False):
        cpu = time.process_time()
        for _ in range(count // 4 if warm else count):
            started = time.perf_counter()
            with Session(engine) as session:
                work(session)
                session.commit()
            taken.append(time.perf_counter() - started)
    cpu = time.process_time() - cpu
    return {"cpu": cpu / count * 1e6, "p50": statistics.median(taken[-count:]) * 1000}


# How fast the relay is


def _relay(count: int) -> Sample:
    with workdir() as directory:
        return dict(run_json("within", "relay", directory, count))


async def _measure_relay(directory: Path, count: int) -> Sample:
    from sqlalchemy.orm import Session

    engine, _ = _host(directory)
    webhooks = _webhooks(engine, directory)
    emitter = webhooks.emitter("acme")
    for _ in range(count // 100):
        with Session(engine) as session:
            emitter.emit_many([(EVENT_TYPE, _DATA)] * 100, within=session)
            session.commit()
    started = time.perf_counter()
    async with webhooks.lifespan():
        while (await webhooks.backend.store.high_water()).position < count:
            await anyio.sleep(0.005)
    return {"rate": count / (time.perf_counter() - started)}


def _latency(where: str, count: int) -> Sample:
    with workdir() as directory:
        return dict(run_json("within", "latency", where, directory, count))


async def _measure_latency(where: str, directory: Path, count: int) -> Sample:
    engine, _ = _host(directory)
    webhooks = _webhooks(engine, directory)
    taken: list[float] = []
    commit: Callable[[], object] = partial(_commit_one, webhooks, engine)
    async with webhooks.lifespan():
        with _another(directory) as other:
            if where == "another":
                commit = partial(_ask, other)
                assert other.stdout is not None
                other.stdout.readline()
            for number in range(count):
                # At no fixed phase of the poll.
                await anyio.sleep(0.02 + (number * 37 % 200) / 1000)
                await anyio.to_thread.run_sync(commit)
                started = time.perf_counter()
                while (await webhooks.backend.store.high_water()).position <= number:
                    await anyio.sleep(0.0005)
                taken.append(time.perf_counter() - started)
            other.kill()
    return {"p50": statistics.median(taken) * 1000, "max": max(taken) * 1000}


def _another(directory: Path) -> subprocess.Popen[str]:
    line = command("within", "committer", directory)
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _commit_one(webhooks: Any, engine: Any) -> None:
    from sqlalchemy.orm import Session

    with Session(engine) as session:
        webhooks.emitter("acme").emit(EVENT_TYPE, _DATA, within=session)
        session.commit()


def _ask(other: subprocess.Popen[str]) -> None:
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdin.write("\n")
    other.stdin.flush()
    other.stdout.readline()


def _serve_commits(directory: Path) -> None:
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{directory / 'host.db'}")
    webhooks = _webhooks(engine, directory)
    print("ready", flush=True)
    for _ in sys.stdin:
        _commit_one(webhooks, engine)
        print("done", flush=True)


def run(scale: Scale) -> Report:
    """Measure commits, the rate of the relay, and its latency."""
    report = Report("within")
    ways = {"an order": "none", "an order and an outbox by hand": "hand", "an order and `emit(within=)`": "within"}
    count = scale.pick(2000, 200)
    figures = interleave({title: partial(_commit, way, count) for title, way in ways.items()}, scale.repeats)
    report.table("A commit on SQLite by SQLAlchemy", figures, {"cpu": "CPU µs", "p50": "ms, p50"})
    bare, hand, ours = (one.median("cpu") for one in figures.values())
    report.goal("CPU of `within`, as a multiple of an outbox by hand", (ours - bare) / (hand - bare), 2)
    figures = interleave({"relay": partial(_relay, scale.pick(20_000, 1000))}, scale.repeats)
    report.table("A backlog, from the outbox into the log", figures, {"rate": "events/s"})
    places = {"in the same process": "same", "in another process": "another"}
    count = scale.pick(60, 10)
    figures = interleave({title: partial(_latency, where, count) for title, where in places.items()}, scale.repeats)
    report.table("From the commit to the log", figures, {"p50": "ms, p50", "max": "ms, longest"})
    same, another = (one.median("p50") for one in figures.values())
    report.goal("latency in the same process, ms, p50", same, 10)
    report.goal("latency from another process, ms, p50", another, 200)
    return report


def _main(what: str, *given: str) -> None:
    if what == "commit":
        print(json.dumps(_measure_commits(given[0], Path(given[1]), int(given[2]))))
    elif what == "relay":
        print(json.dumps(anyio.run(_measure_relay, Path(given[0]), int(given[1]))))
    elif what == "latency":
        print(json.dumps(anyio.run(_measure_latency, given[0], Path(given[1]), int(given[2]))))
    else:
        _serve_commits(Path(given[0]))


if __name__ == "__main__":
    os.environ.pop("SVIX_API_KEY", None)
    _main(*sys.argv[1:])
