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

from benchmarks.attackers import MOUNT
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
    "silent": "500 callers, URLs whose DNS is silent",
    "churn": "16 callers, endpoints with all they may have, created and deleted",
    "full": "16 callers, lists of 48 endpoints with all they may have",
    "headers": "16 callers, `PATCH` of 80 KB of headers",
    "wrong": "16 callers, bodies of 6,000 unknown fields",
    "search": "16 callers, events of 20 types and a channel that has none",
    "attempts": "16 callers, attempts of a status that none has",
    "states": "16 callers, searches for a state that no event has",
    "lists": "16 callers, lists of 250 events",
    "deleted": "16 callers, endpoints that recover all events and are deleted",
    "query": "16 callers without a key, 8,000 parameters",
    "cookies": "16 callers without a key, 6,000 cookies",
    "reconnect": "50 callers, streams from the start, closed at once",
}
# What the attacker's tenant has before: 30 events of 1 MB, or 20,000 events.
_LARGE = {"replays", "reconnect"}
_MANY = {"recover", "search", "states", "lists", "deleted"}
_COLUMNS = {
    "ping_p50": "ping p50 ms",
    "ping_p99": "ping p99 ms",
    "lag_p99": "loop lag p99 ms",
    "emit_p50": "emit p50 ms",
    "emit_p95": "emit p95 ms",
    "failed": "failed",
    "rss_mb": "RSS +MB",
    "disk_mb": "disk +MB",
    "threads": "threads +",
    "ok": "attack 2xx",
    "refused": "attack refused",
}
_GOALS = (
    ("unique", "lag_p99", 20),
    ("pattern", "lag_p99", 20),
    ("nested", "lag_p99", 20),
    ("large", "failed", 0),
    ("large", "disk_mb", 4),
    ("pages", "rss_mb", 100),
    ("replays", "rss_mb", 100),
    ("recover", "emit_p50", 10),
    ("patch", "emit_p95", 15),
    ("states", "emit_p50", 10),
    ("deleted", "emit_p50", 10),
    ("query", "lag_p99", 20),
    ("cookies", "lag_p99", 20),
    ("reconnect", "lag_p99", 20),
    ("unknown", "ping_p50", 5),
    ("document", "ping_p50", 5),
    ("silent", "threads", 80),
)


def run(scale: Scale) -> Report:
    """Measure each attack beside the server at rest."""
    report = Report("tenants")
    seconds = scale.pick(4.0, 1.0)
    names = ["", *_ATTACKS] if not scale.short else ["", "unique", "pages"]
    contenders = {_ATTACKS.get(name, "at rest"): partial(_under, name, seconds, scale) for name in names}
    # All attacks take three minutes.
    figures = interleave(contenders, scale.pick(max(scale.repeats // 5, 1), 1))
    report.table("Another tenant's emit and a bare route, one call after the other", figures, _COLUMNS)
    for name, figure, limit in _GOALS:
        if (title := _ATTACKS[name]) in figures:
            report.goal(f"{_COLUMNS[figure]}: {title}", figures[title].median(figure), limit)
    if not scale.short:
        _hanging(report)
        _amplified(report)
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
    return json.loads(answer) if answer.startswith((b"{", b"[")) else None


def _under(name: str, seconds: float, scale: Scale) -> Sample:
    with _server() as (process, port, database):
        if name in _LARGE:
            _emit_large(port, scale.pick(30, 10))
        for _ in range(20 if name in _MANY else 1):
            _call(port, "POST", "/emit", {"type": "thing.kind_1", "data": {}, "count": 1000})
        if name == "pages":
            # Pages begin with the newest events.
            _emit_large(port, 10)
        # Where nobody listens: what is recovered waits.
        _call(
            port,
            "POST",
            f"{MOUNT}/endpoints",
            {"url": f"http://127.0.0.1:{free_port()}/", "eventTypes": ["order.created"]},
        )
        _call(port, "GET", f"{MOUNT}/events")
        if name == "silent":
            for number in range(100):
                _call(port, "POST", f"{MOUNT}/endpoints", {"url": f"https://{number}.silent.test/"})
        if name == "attempts":
            _seed_attempts(port)
        time.sleep(0.5)
        disk = os.path.getsize(database)
        peak = _Peak(process)
        attack = None
        if name:
            attack = subprocess.Popen(command("attackers", name, port, seconds + 1), stdout=subprocess.PIPE)
            # Importing takes half a second.
            time.sleep(1.0)
        if name == "silent":
            # The host has events for these endpoints, too.
            _call(port, "POST", "/emit", {"type": "thing.kind_1", "data": {}, "count": 20})
        result = _probe(port, seconds)
        peak.stop()
        if attack is not None:
            result |= _answers(attack)
        grown = os.path.getsize(database) - disk
    return result | {"rss_mb": peak.memory / 2**20, "disk_mb": grown / 2**20, "threads": float(peak.threads)}


def _emit_large(port: int, count: int) -> None:
    for _ in range(count):
        _call(port, "POST", "/emit", {"type": "thing.kind_1", "data": {"filling": "x" * 1_000_000}})


def _seed_attempts(port: int) -> None:
    """Let 5,000 deliveries of the attacker succeed: as many attempts as one list looks at."""
    receiver = free_port()
    with serve(command("receiver", receiver), receiver):
        _call(port, "POST", f"{MOUNT}/endpoints", {"url": f"http://127.0.0.1:{receiver}/"})
        _call(port, "POST", "/emit", {"type": "thing.kind_1", "data": {}, "count": 5000})
        end = time.monotonic() + 30
        while ask(receiver, "/")["count"] < 5000 and time.monotonic() < end:
            time.sleep(0.1)


def _answers(attack: subprocess.Popen[bytes]) -> dict[str, float]:
    """How many calls of the attack were answered, and how many were refused."""
    out, _ = attack.communicate(timeout=60)
    statuses: dict[str, int] = json.loads(out.splitlines()[-1])
    return {
        "ok": float(sum(count for status, count in statuses.items() if status.startswith("2"))),
        "refused": float(sum(count for status, count in statuses.items() if status.startswith(("4", "5")))),
    }


class _Peak:
    """The most memory and threads of a process until `stop`, in addition to those at the beginning."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._before = process.memory_info().rss, process.num_threads()
        self.memory = self.threads = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            memory, threads = self._before
            self.memory = max(self.memory, self._process.memory_info().rss - memory)
            self.threads = max(self.threads, self._process.num_threads() - threads)

    def stop(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()


def _probe(port: int, seconds: float) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"type": "thing.kind_2", "data": {"n": 1}})
    latencies: dict[str, list[float]] = {"ping": [], "emit": []}
    failed = 0
    _call(port, "GET", "/lag")
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
    lags = sorted(_call(port, "GET", "/lag"))
    figures: dict[str, float] = {"failed": float(failed), "lag_p99": percentile(lags, 0.99)}
    for what, values in latencies.items():
        values.sort()
        figures[f"{what}_p50"] = statistics.median(values)
        figures[f"{what}_p95"] = percentile(values, 0.95)
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


def _amplified(report: Report) -> None:
    """The deliveries that calls of one tenant cause to a server that never accepts one."""
    seconds, receiver = 10.0, free_port()
    with serve(command("receiver", receiver), receiver), _server() as (_, port, _):
        _emit_large(port, 30)
        _call(port, "POST", f"{MOUNT}/endpoints", {"url": f"http://127.0.0.1:{receiver}/dead"})
        subprocess.run(command("attackers", "amplify", port, seconds), stdout=subprocess.DEVNULL, check=True)
        count = ask(receiver, "/")["count"]
    # A burst of ten and one a second, ten tests or resends and one more in six seconds.
    report.goal("deliveries in 10 s to a server that accepts none, 16 callers that ask for them", count, 35)
