"""The PostgreSQL backend, compared with a group commit by hand, the SQLite backend, and job queues for the same POST.

The server runs on the same cores, and its CPU counts. `BENCH_DIR` is the directory of its data.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from benchmarks.deliveries import ENDPOINTS, ask
from benchmarks.harness import Report, Sample, Scale, command, free_port, interleave, serve, workdir
from tests.postgresql import PostgreSQL, find_binaries, starting_postgresql

_WORKERS = "postgresql_workers"
_TENANTS = 100


def run(scale: Scale) -> Report:
    """Measure the log, deliveries of one and two processes, latencies, and the lag of another process's stream."""
    report = Report("postgresql")
    binaries = find_binaries()
    if binaries is None:
        print("Left out: there is no PostgreSQL server on this machine.")
        return report
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(serve(command("receiver", port), port))
        bench = _Bench(stack.enter_context(starting_postgresql(binaries)), port)
        _log(report, scale, bench)
        _deliveries(report, scale, bench)
        _latency(report, scale, bench)
        _streams(report, scale, bench)
    return report


@dataclass(slots=True)
class _Bench:
    """The server and the receiver."""

    server: PostgreSQL
    port: int
    _numbers: Iterator[int] = field(default_factory=count)

    @contextmanager
    def database(self, *, listen: bool = True) -> Iterator[dict[str, str]]:
        """A new database, as environment of a process."""
        import psycopg

        name = f"bench_{next(self._numbers)}"
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
            url = self.server.url.rpartition("/")[0] + f"/{name}"
            environment = {"BENCH_DATABASE": url, "BENCH_SERVER_PID": str(self.server.pid)}
            if listen:
                environment["WEBHOOKS_DATABASE_LISTEN"] = url
            yield environment
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            # Autovacuum and checkpoints of one contender must not run during the next.
            connection.execute("CHECKPOINT")


def _start(environment: Mapping[str, str], *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(_WORKERS, *arguments),
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _result(process: subprocess.Popen[str]) -> dict[str, float]:
    out, err = process.communicate(timeout=300)
    if process.returncode:
        raise RuntimeError(f"{process.args!r} failed:\n{out[-2000:]}\n{err[-4000:]}")
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return result


def _log(report: Report, scale: Scale, bench: _Bench) -> None:
    seconds = scale.pick(3.0, 1.0)

    def sample(what: str) -> Sample:
        with bench.database() as environment:
            result = _result(_start(environment, what, 256, seconds))
            return result | {"all_us": result["cpu_us"] + result["server_us"]}

    contenders = {
        "ours: check, encode, mint, commit, queue deliveries": partial(sample, "log_ours"),
        "a group commit by hand: json.dumps, uuid4, one insert": partial(sample, "log_by_hand"),
    }
    figures = interleave(contenders, scale.pick(scale.repeats, 1))
    columns = {
        "rate": "durable events/s",
        "cpu_us": "client CPU µs/event",
        "server_us": "PostgreSQL CPU µs/event",
    }
    report.table("The log on PostgreSQL, 256 callers", figures, columns)
    ours, hand = figures.values()
    report.goal("events/s over a group commit by hand", ours.median("rate") / hand.median("rate"), 0.6, at_least=True)


def _deliveries(report: Report, scale: Scale, bench: _Bench) -> None:
    events = scale.pick(2000, 200)

    def of(samples: list[dict[str, float]], deliveries: int) -> Sample:
        client, server = sum(one["cpu"] for one in samples), samples[0]["server"]
        return {
            "cpu_us": (client + server) / deliveries * 1e6,
            "client_us": client / deliveries * 1e6,
            "server_us": server / deliveries * 1e6,
            "rate": deliveries / max(one["wall"] for one in samples),
        }

    def ours(environment: Mapping[str, str], processes: int) -> Sample:
        return of(_deliver(bench, environment, events, processes), events * ENDPOINTS)

    def on_postgresql(processes: int) -> Sample:
        with bench.database() as environment:
            return ours(environment, processes)

    def on_sqlite() -> Sample:
        with workdir() as directory:
            return ours({"BENCH_DATABASE": str(directory / "log.db")}, 1)

    def peer(name: str) -> Sample:
        jobs = scale.pick(3000, 300)
        with bench.database() as environment:
            ask(bench.port, "/reset")
            return of([_result(_start(environment, name, bench.port, jobs))], jobs)

    contenders: dict[str, Callable[[], Sample]] = {
        "ours, one process": partial(on_postgresql, 1),
        "ours, two processes": partial(on_postgresql, 2),
        "ours on SQLite, one process": on_sqlite,
        "procrastinate: the same POST as a job, unsigned": partial(peer, "procrastinate"),
        "pgqueuer: the same POST as a job, unsigned": partial(peer, "pgqueuer"),
    }
    figures = interleave(contenders, scale.pick(scale.repeats, 1))
    columns = {
        "cpu_us": "CPU µs/delivery",
        "client_us": "of it Python",
        "server_us": "of it PostgreSQL",
        "rate": "deliveries/s",
    }
    report.table("Emit, 3 endpoints each, sign, POST, record; the server's CPU included", figures, columns)
    one, two, sqlite, *_ = figures.values()
    report.goal("CPU over the SQLite backend's", one.median("cpu_us") / sqlite.median("cpu_us"), 1.6)
    report.goal("CPU of two processes over one", two.median("cpu_us") / one.median("cpu_us"), 1.15)
    report.goal("deliveries/s of two processes over one", two.median("rate") / one.median("rate"), 1, at_least=True)


def _deliver(bench: _Bench, environment: Mapping[str, str], events: int, processes: int = 1) -> list[dict[str, float]]:
    """Deliver as fast as possible."""
    environment = {**environment, "BENCH_TOTAL": str(events * ENDPOINTS)}
    _result(_start(environment, "subscribe", bench.port, _TENANTS))
    ask(bench.port, "/reset")
    start = time.time() + 2
    each = events // processes
    workers = [_start(environment, "deliver", bench.port, _TENANTS, each, start, 0) for _ in range(processes)]
    return [_result(worker) for worker in workers]


def _latency(report: Report, scale: Scale, bench: _Bench) -> None:
    full = scale.pick(2000, 200)
    seconds = scale.pick(10, 1)

    def sample() -> Sample:
        # The speed of a shared machine changes within minutes, so the full load is measured right before its half.
        with bench.database() as environment:
            (result,) = _deliver(bench, environment, full)
            most = full * ENDPOINTS / result["wall"]
        half = round(most / ENDPOINTS / 2, 1)
        events = int(half * seconds)
        with bench.database() as environment:
            environment |= {"BENCH_TOTAL": str(events * ENDPOINTS)}
            _result(_start(environment, "subscribe", bench.port, _TENANTS))
            ask(bench.port, "/reset")
            result = _result(_start(environment, "deliver", bench.port, _TENANTS, events, time.time() + 4, half))
            lags = sorted(ask(bench.port, "/arrivals")["arrivals"]["/hook"])
            rate = events * ENDPOINTS / result["wall"]
            return {"most": most, "rate": rate, "p50_ms": _at(lags, 0.5), "p99_ms": _at(lags, 0.99)}

    figures = interleave({"ours, one process": sample}, scale.pick(scale.repeats, 1))
    columns = {"most": "most, deliveries/s", "rate": "deliveries/s", "p50_ms": "p50 ms", "p99_ms": "p99 ms"}
    report.table("Emit to arrival, at half of the highest rate, with open connections", figures, columns)
    report.goal("p99 at half load, ms", figures["ours, one process"].median("p99_ms"), 50)


def _at(lags: list[float], part: float) -> float:
    from benchmarks.load import percentile

    return percentile(lags, part) * 1e3


def _streams(report: Report, scale: Scale, bench: _Bench) -> None:
    events = scale.pick(300, 30)

    def sample(listen: bool) -> Sample:
        with bench.database(listen=listen) as environment:
            # Both together: the schema exists when the second one starts.
            watcher = _start(environment, "watch", free_port(), events)
            time.sleep(2)
            _result(_start(environment, "trickle", bench.port, events))
            return _result(watcher)

    contenders = {"with LISTEN": partial(sample, True), "by polling alone": partial(sample, False)}
    figures = interleave(contenders, scale.pick(scale.repeats, 1))
    report.table(
        "One process's event on another's stream, 50 events/s", figures, {"p50_ms": "p50 ms", "p99_ms": "p99 ms"}
    )
    report.goal("p50 with LISTEN, ms", figures["with LISTEN"].median("p50_ms"), 20)
    report.goal("p99 with LISTEN, ms", figures["with LISTEN"].median("p99_ms"), 100)
