"""The dispatcher: from emit to the recorded attempt, compared with the same loop over aiohttp."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks.deliveries import ENDPOINTS, ask
from benchmarks.harness import Report, Sample, Scale, command, free_port, interleave, run_json, serve, workdir

_TLS_HOSTS = 30
_BESIDE = {  # The short form measures only bad endpoints.
    "alone": "alone",
    "alone, and 60 tenants without endpoints emit": "others-none",
    "beside 60 healthy ones, same events": "same-healthy",
    "beside 50 dead and 10 slow ones, same events": "same-bad",
    "beside 60 healthy ones of other tenants": "others-healthy",
    "beside 50 dead and 10 slow ones of other tenants": "others-bad",
}


def run(scale: Scale) -> Report:
    """Measure deliveries to many hosts, with waiting rows, over TLS, with two processes, and beside bad endpoints."""
    report = Report("dispatcher")
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(serve(command("receiver", port), port))
        _throughput(report, scale, port)
        _connections(report, scale, port)
        _latency(report, scale, port)
    _processes(report, scale)
    return report


def _deliver(port: int, client: str, hosts: int, events: int, **more: object) -> Callable[[], Sample]:
    given = {"endpoints": 300, "path": "/hook", "pending": 0} | more
    return partial(
        run_json,
        "deliveries",
        "deliver",
        port,
        client,
        given["endpoints"],
        hosts,
        given["path"],
        events,
        given["pending"],
    )


def _throughput(report: Report, scale: Scale, port: int) -> None:
    events = scale.pick(1500, 300)
    waiting = scale.pick(1_000_000, 20_000)
    contenders = {
        "ours, 300 hosts": _deliver(port, "own", 300, events),
        "ours, 501 endpoints on 501 hosts": _deliver(port, "own", 501, events, endpoints=501),
        "ours, 501 endpoints on one host": _deliver(port, "own", 1, events, endpoints=501),
        f"ours, 300 hosts, {waiting:,} other rows pending": _deliver(port, "own", 300, events, pending=waiting),
        "the same loop over aiohttp, 300 hosts": _deliver(port, "aiohttp", 300, events),
        "the same loop without HTTP, 300 hosts": _deliver(port, "none", 300, events),
    }
    figures = interleave(contenders, scale.pick(scale.repeats, 1))
    columns = {"cpu_us": "CPU µs/delivery", "rate": "deliveries/s", "receiver_cpu": "receiver CPU %"}
    report.table(f"Emit, {ENDPOINTS} endpoints each, sign, POST, record", figures, columns)
    own, many, one_host, full, peer, _ = (one.median("cpu_us") for one in figures.values())
    report.goal("CPU over the same loop over aiohttp", own / peer, 1.3)
    report.goal("CPU at 501 hosts over one host", many / one_host, 1.2)
    report.goal(f"CPU with {waiting:,} rows pending over none", full / own, 2)


def _connections(report: Report, scale: Scale, plain: int) -> None:
    events = scale.pick(600, 200)
    with workdir() as directory, ExitStack() as stack:
        certificate = _certificate(directory)
        secure = free_port()
        stack.enter_context(serve(command("receiver", secure, certificate), secure))

        def deliver(client: str, tls: bool, path: str) -> Sample:
            if not tls:
                return _deliver(plain, client, _TLS_HOSTS, events, path=path)()
            with _environment(BENCH_CERTIFICATE=str(certificate)):
                return _deliver(secure, client, _TLS_HOSTS, events, path=path)()

        short = ((False, "/hook"), (True, "/close"))
        contenders = {
            f"{name}, {'TLS' if tls else 'plain'}, {'kept' if path == '/hook' else 'a fresh connection each'}": partial(
                deliver, client, tls, path
            )
            for tls, path in scale.pick(product((False, True), ("/hook", "/close")), short)
            for name, client in (("ours", "own"), ("over aiohttp", "aiohttp"))
        }
        figures = interleave(contenders, scale.pick(3, 1))
    columns = {"cpu_us": "CPU µs/delivery", "rate": "deliveries/s", "receiver_cpu": "receiver CPU %"}
    report.table(f"By connection, {_TLS_HOSTS} hosts, P-256 certificate", figures, columns)
    medians = [one.median("cpu_us") for one in figures.values()]
    report.goal("CPU with fresh TLS connections over aiohttp", medians[-2] / medians[-1], 1.3)


def _certificate(directory: Path) -> Path:
    path = directory / "receiver.pem"
    names = ",".join(f"IP:127.0.0.{n + 1}" for n in range(_TLS_HOSTS))
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=receiver", "-addext", f"subjectAltName={names}"]
    key = directory / "key.pem"
    subprocess.run(
        ["openssl", "req", *options, *subject, "-keyout", key, "-out", path], check=True, capture_output=True
    )
    path.write_text(path.read_text() + key.read_text())
    return path


@contextmanager
def _environment(**more: str) -> Generator[None]:
    os.environ.update(more)
    try:
        yield
    finally:
        for name in more:
            del os.environ[name]


def _latency(report: Report, scale: Scale, port: int) -> None:
    seconds = scale.pick(30, 1)
    contenders = {
        name: partial(run_json, "deliveries", "latency", port, kind, seconds)
        for name, kind in _BESIDE.items()
        if not scale.short or not kind.endswith("healthy")
    }
    figures = interleave(contenders, scale.pick(3, 1))
    columns = {
        "p50_ms": "p50 ms",
        "p90_ms": "p90 ms",
        "p99_ms": "p99 ms",
        "count": "events",
        "attempts": "answered attempts/s",
        "cpu": "CPU % of a core",
    }
    report.table("From emit to arrival at a healthy endpoint, 10 events/s", figures, columns)
    alone, emitting, same, others = (figures[name] for name, kind in _BESIDE.items() if not kind.endswith("healthy"))
    report.goal("emit to arrival, alone, p50 ms", alone.median("p50_ms"), 10)
    for text, one, control in (
        ("over alone, same events", same, alone),
        ("over alone, other tenants", others, alone),
        ("of other tenants over the same events without them", others, emitting),
    ):
        ratio = one.median("p99_ms") / control.median("p99_ms")
        report.goal(f"p99 beside 50 dead and 10 slow endpoints {text}", ratio, 1.2)


def _processes(report: Report, scale: Scale) -> None:
    events = scale.pick(12_000, 300)
    figures = interleave(
        {f"{count} dispatcher{'s' if count > 1 else ''}": partial(_share, scale, count, events) for count in (1, 2)},
        scale.pick(scale.repeats, 1),
    )
    columns = {
        "rate": "deliveries/s",
        "cpu_us": "CPU µs/delivery",
        "own_cpu": "dispatchers' CPU %",
        "receiver_cpu": "receiver CPU %",
        "doubled": "delivered twice",
    }
    report.table("Processes that share a database, two cores with the receiver, 300 hosts", figures, columns)
    one, two = figures.values()
    report.goal("two dispatchers over one", two.median("rate") / one.median("rate"), 1.6, at_least=True)


def _share(scale: Scale, processes: int, events: int) -> Sample:
    with workdir() as directory, ExitStack() as stack:
        port = free_port()
        stack.enter_context(serve(command("receiver", port, "sink"), port))
        database = str(directory / "log.db")
        with _environment(BENCH_DATABASE=database):
            # The first round opens the connections and is not counted.
            run_json("deliveries", "prepare", port, 100, scale.pick(4, 1), 200)
            due = run_json("deliveries", "prepare", port, 0, scale.pick(8, 3), events)["due"]
            workers = [
                subprocess.Popen(command("deliveries", "work", due), stdout=subprocess.PIPE, text=True)
                for _ in range(processes)
            ]
            received, theirs = _wait_until(due, port)
            cpu = sum(json.loads(worker.communicate(timeout=120)[0].splitlines()[-1])["cpu"] for worker in workers)
        after = ask(port, "/")
        connection = sqlite3.connect(database)
        (ended,) = connection.execute("SELECT max(timestamp + duration_ms) FROM attempt").fetchone()
        connection.close()
    deliveries = events * ENDPOINTS
    wall = ended / 1000 - due
    return {
        "rate": deliveries / wall,
        "cpu_us": cpu / deliveries * 1e6,
        "own_cpu": cpu / wall * 100,
        "receiver_cpu": (after["cpu"] - theirs) / wall * 100,
        "doubled": after["count"] - received - deliveries,
    }


def _wait_until(due: float, port: int) -> tuple[int, float]:
    time.sleep(max(due - time.time() - 0.2, 0))
    answer = ask(port, "/")
    return answer["count"], answer["cpu"]
