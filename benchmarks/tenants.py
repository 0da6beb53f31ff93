"""What one customer's key costs the others: a bare route, and emits for another tenant, at rest and under attacks."""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.attackers import CALLS, MOUNT, REQUESTS
from benchmarks.deliveries import ask
from benchmarks.harness import Report, Sample, Scale, command, free_port, interleave, serve, uvicorn, workdir
from benchmarks.load import percentile

_ATTACKS = {
    "unique": "8 callers, `POST /test` of 2,000 objects for `uniqueItems`",
    "pattern": "8 callers, `POST /test` for a `pattern` that backtracks",
    "nested": "8 callers, `POST /test` of 300 levels",
    "large": "120 callers, `POST /test` of 1 MB",
    "recover": "16 callers, `recover` of all events, half of them impatient",
    "patch": "16 callers, `PATCH` of 100 types and 10 channels",
    "unknown": "8 callers, unknown event types",
    "document": "8 callers, `openapi.json` without a key",
    "pages": "100 pages of 9 MB that are not read",
    "replays": "100 replays of 30 MB that are not read",
    "bodies": "150 bodies that never end",
}


def run(scale: Scale) -> Report:
    """Measure each attack beside the server at rest."""
    report = Report("tenants")
    seconds = scale.pick(5.0, 1.0)
    names = ["", *(CALLS | REQUESTS)] if not scale.short else ["", "unique", "pages"]
    contenders = {_ATTACKS.get(name, "at rest"): partial(_under, name, seconds, scale) for name in names}
    figures = interleave(contenders, scale.pick(min(scale.repeats, 3), 1))
    columns = {
        "ping_p50": "ping p50 ms",
        "ping_p99": "ping p99 ms",
        "emit_p50": "emit p50 ms",
        "emit_p99": "emit p99 ms",
        "failed": "failed",
        "rss_mb": "RSS +MB",
        "disk_mb": "disk +MB",
    }
    report.table("Another tenant's emit and a bare route, one call after the other", figures, columns)
    for name, limit in {"unique": 20, "pattern": 20, "nested": 20}.items():
        if (title := _ATTACKS[name]) in figures:
            report.goal(f"ping p99 ms, {title}", figures[title].median("ping_p99"), limit)
    for name, (figure, limit) in {
        "large": ("failed", 0),
        "recover": ("emit_p50", 10),
        "patch": ("emit_p99", 15),
        "pages": ("rss_mb", 100),
        "replays": ("rss_mb", 100),
    }.items():
        if (title := _ATTACKS[name]) in figures:
            report.goal(f"{columns[figure]}, {title}", figures[title].median(figure), limit)
    if not scale.short:
        _hanging(report)
    return report


@contextmanager
def _server() -> Iterator[tuple[psutil.Process, int, str]]:
    with workdir() as directory:
        database, port = str(directory / "log.db"), free_port()
        os.environ["BENCH_DATABASE"] = database
        with serve(uvicorn("benchmarks.tenants_app:app", port), port) as process:
            yield process, port, database


def _call(port: int, method: str, path: str, body: Any = None, tenant: str = "mallory") -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {tenant}", "X-Tenant": tenant}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    if response.status >= 300:
        raise RuntimeError(f"{method} {path}: {response.status} {answer[:300]!r}")
    return json.loads(answer) if answer.startswith(b"{") else None


def _under(name: str, seconds: float, scale: Scale) -> Sample:
    with _server() as (process, port, database):
        for _ in range(scale.pick(30, 10)):
            _call(port, "POST", "/emit", {"type": "thing.kind_1", "data": {"filling": "x" * 1_000_000}})
        for _ in range(scale.pick(20, 1)):
            _call(port, "POST", "/emit", {"type": "thing.kind_1", "data": {}, "count": 1000})
        # Where nobody listens: what is recovered waits.
        _call(
            port,
            "POST",
            f"{MOUNT}/endpoints",
            {"url": f"http://127.0.0.1:{free_port()}/", "eventTypes": ["order.created"]},
        )
        _call(port, "GET", f"{MOUNT}/events")
        time.sleep(0.5)
        memory, disk = process.memory_info().rss, os.path.getsize(database)
        attack = None
        if name:
            attack = subprocess.Popen(command("attackers", name, port, seconds + 0.5), stdout=subprocess.DEVNULL)
            time.sleep(0.5)
        peak = _Peak(process)
        result = _probe(port, seconds)
        most = peak.stop()
        if attack is not None:
            attack.wait(60)
        grown = os.path.getsize(database) - disk
    return result | {"rss_mb": max(most - memory, 0) / 2**20, "disk_mb": grown / 2**20}


class _Peak:
    """The most memory of a process until `stop`."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            self._most = max(self._most, self._process.memory_info().rss)

    def stop(self) -> int:
        """Return it."""
        self._ended.set()
        self._thread.join()
        return self._most


def _probe(port: int, seconds: float) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"type": "thing.kind_2", "data": {"n": 1}})
    latencies: dict[str, list[float]] = {"ping": [], "emit": []}
    failed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for what in latencies:
            began = time.perf_counter()
            if what == "ping":
                connection.request("GET", "/ping")
            else:
                connection.request("POST", "/emit", body, {"X-Tenant": "victim"})
            response = connection.getresponse()
            response.read()
            failed += response.status != 200
            latencies[what].append((time.perf_counter() - began) * 1e3)
        time.sleep(0.005)
    connection.close()
    figures: dict[str, float] = {"failed": float(failed)}
    for what, values in latencies.items():
        values.sort()
        figures[f"{what}_p50"] = statistics.median(values)
        figures[f"{what}_p99"] = percentile(values, 0.99)
    return figures


def _hanging(report: Report) -> None:
    """The wait of a new endpoint while those of twelve other tenants do not answer."""
    receiver = free_port()
    with serve(command("receiver", receiver), receiver), _server() as (_, port, _):
        for tenant in range(12):
            for n in range(5):
                url = f"http://127.0.{tenant + 1}.{n + 1}:{receiver}/slow/14000"
                _call(port, "POST", f"{MOUNT}/endpoints", {"url": url}, tenant=f"slow-{tenant}")
            _call(port, "POST", "/emit", {"type": "thing.kind_1", "data": {}, "count": 100}, tenant=f"slow-{tenant}")
        time.sleep(3)
        _call(port, "POST", f"{MOUNT}/endpoints", {"url": f"http://127.0.0.1:{receiver}/new"}, tenant="victim")
        ask(receiver, "/reset")
        _call(port, "POST", "/emit", {"type": "thing.kind_2", "data": {"at": f"~{time.time()}"}}, tenant="victim")
        end = time.monotonic() + 20
        while not (arrived := ask(receiver, "/arrivals")["arrivals"].get("/new")) and time.monotonic() < end:
            time.sleep(0.05)
    wait = arrived[0] if arrived else 20.0
    report.goal("seconds until a new endpoint's first delivery, beside 60 hanging ones of 12 tenants", wait, 1)
