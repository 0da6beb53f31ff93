"""Streams: one event for thousands of readers, compared with sse-starlette, FastAPI and the bare transport."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any

from benchmarks.app import EVENT_TYPE
from benchmarks.harness import Report, Sample, Scale, command, free_port, interleave, run_json, serve, uvicorn, workdir
from benchmarks.streamers import FILTERS

_OURS, _SSE, _PEER = "ours: emit, commit, stream", "sse-starlette, encoded in advance", "sse_starlette"
_FASTAPI, _FLOOR = "FastAPI's own SSE", "floor: asyncio transport"
_PATH = {"ours": "/webhooks/events/stream"}


@contextlib.contextmanager
def _server(name: str, *arguments: str, **environment: str) -> Generator[tuple[int, int]]:
    with workdir() as directory:
        port = free_port()
        line = uvicorn(f"benchmarks.streamers:{name}", port, "--factory", "--backlog", "4096", *arguments)
        if name == "floor":
            line = command("streamers", port)
        if name == "granian":
            options = ["--interface", "asgi", "--factory", "--port", str(port), "--log-level", "warning"]
            line = [sys.executable, "-m", "granian", "benchmarks.streamers:ours", *options]
        with serve(line, port, BENCH_DATABASE=str(directory / "log.db"), **environment) as process:
            yield port, process.pid


def _measure(
    what: str,
    name: str,
    *options: Any,
    arguments: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    path: str | None = None,
) -> Sample:
    with _server(name, *arguments, **(environment or {})) as (port, pid):
        path = path or ("/stream" if name in (_PEER, "fastapi", "floor") else _PATH["ours"])
        sample: Sample = run_json("readers", what, "--port", port, "--pid", pid, "--path", path, *options)
        return sample


_COLUMNS = {
    "cpu_us": "server CPU µs/frame",
    "per_cpu_second": "frames/CPU-second",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "kb": "KB/connection",
    "client_cpu": "client CPU %",
}


def run(scale: Scale) -> Report:
    """Measure fan-out, idle streams and the end of streams."""
    report = Report("stream")
    all_of_them = {_OURS: "ours", _SSE: _PEER, _FASTAPI: "fastapi", _FLOOR: "floor"}
    many = scale.pick(5000, 500)
    for readers, burst in scale.pick(((1000, 1), (1000, 10), (5000, 1)), ((300, 1), (300, 10))):
        names = dict(all_of_them)
        if readers == 5000:
            del names[_FASTAPI]
        options = ["--readers", readers, "--burst", burst, "--seconds", scale.pick(3.0, 0.6)]
        contenders = {title: partial(_measure, "fan_out", name, *options) for title, name in names.items()}
        figures = interleave(contenders, scale.pick(scale.repeats, 1))
        report.table(f"Readers: {readers}, events per wake-up: {burst}, uvicorn with httptools", figures, _COLUMNS)
        mine, peer, least = figures[_OURS], figures[_SSE], figures[_FLOOR]
        gain = mine.median("per_cpu_second") / peer.median("per_cpu_second")
        if readers != many or scale.short:
            goal = 2 if burst == 1 else 5
            title = f"frames/CPU-second over sse-starlette, {readers} readers, {burst} per wake-up"
            report.goal(title, gain, goal, at_least=True)
        if burst == 1:
            report.goal(f"CPU over the floor, {readers} readers", mine.median("cpu_us") / least.median("cpu_us"), 3)
        if readers == many:
            report.goal("p99 over sse-starlette's, 5,000 readers", mine.median("p99_ms") / peer.median("p99_ms"), 0.5)
        report.goal(f"KB a connection, {readers} readers", mine.median("kb"), 22)
    _filters(report, scale)
    _lag(report, scale, many)
    _across(report, scale)
    _idle(report, scale, many)
    _end(report, scale)
    return report


def _filters(report: Report, scale: Scale) -> None:
    options = ["--readers", scale.pick(1000, 300), "--burst", 1, "--seconds", scale.pick(3.0, 0.6)]
    path = f"{_PATH['ours']}?event_type={EVENT_TYPE}"
    contenders: dict[str, Callable[[], Sample]] = {
        "no filter": partial(_measure, "fan_out", "ours", *options),
        "one filter for all": partial(_measure, "fan_out", "ours", *options, path=path),
    }
    for distinct in scale.pick((10, FILTERS), (FILTERS,)):
        own = f"{path}&event_type=other.type_{{n}}"
        title = f"{distinct} different filters"
        contenders[title] = partial(_measure, "fan_out", "ours", *options, "--distinct", distinct, path=own)
    figures = interleave(contenders, scale.pick(3, 1))
    report.table(f"Filters of {options[1]} readers", figures, _COLUMNS)
    none, one, *_, many = (figure.median("cpu_us") for figure in figures.values())
    report.goal("CPU with one filter for all over none", one / none, 1.15)
    report.goal(f"CPU with {FILTERS} different filters over none", many / none, 1.5)


def _lag(report: Report, scale: Scale, readers: int) -> None:
    options = ["--readers", readers, "--seconds", scale.pick(10.0, 2.0)]
    names = scale.pick({_OURS: "ours", _SSE: _PEER}, {_OURS: "ours"})
    contenders = {title: partial(_measure, "lag", name, *options) for title, name in names.items()}
    figures = interleave(contenders, scale.pick(3, 1))
    columns = {"lag_p99_ms": "loop lag p99 ms", "lag_max_ms": "loop lag max ms", "cpu": "CPU % of a core"}
    report.table(f"How late the loop is, 2 events a second to {readers} readers", figures, columns)
    report.goal(f"loop lag p99 with {readers} readers, ms", figures[_OURS].median("lag_p99_ms"), 25)


def _across(report: Report, scale: Scale) -> None:
    figures = interleave({"from one process to the other": partial(_emit_across, scale)}, scale.pick(3, 1))
    report.table(
        "Two processes on one file: from the request that emits in one to the frame from the other",
        figures,
        {"p50_ms": "p50 ms", "p99_ms": "p99 ms", "count": "events"},
    )
    (one,) = figures.values()
    report.goal("emitted in one process to seen in the other's stream, p50 ms", one.median("p50_ms"), 20)
    report.goal("emitted in one process to seen in the other's stream, p99 ms", one.median("p99_ms"), 100)


def _emit_across(scale: Scale) -> Sample:
    with workdir() as directory, contextlib.ExitStack() as stack:
        database = str(directory / "log.db")
        ports = [free_port(), free_port()]
        lines = [uvicorn("benchmarks.streamers:ours", port, "--factory") for port in ports]
        reading, _ = [
            stack.enter_context(serve(line, port, BENCH_DATABASE=database))
            for line, port in zip(lines, ports, strict=True)
        ]
        options = ["--port", ports[0], "--pid", reading.pid, "--path", _PATH["ours"], "--emit-port", ports[1]]
        sample: Sample = run_json("readers", "across", *options, "--seconds", scale.pick(10.0, 1.0))
        return sample


def _idle(report: Report, scale: Scale, readers: int) -> None:
    options = ["--readers", readers, "--seconds", scale.pick(10.0, 2.0)]
    beats = {"BENCH_HEARTBEAT": "2"}
    contenders: dict[str, Callable[[], Sample]] = {
        title: partial(_measure, "idle", name, *options, environment=beats)
        for title, name in ((_OURS, "ours"), (_SSE, _PEER))
    }
    if not scale.short:
        contenders["ours, 10,000 connections"] = partial(
            _measure, "idle", "ours", "--readers", 10_000, "--seconds", 6, environment=beats
        )
    figures = interleave(contenders, scale.pick(2, 1))
    columns = {"cpu": "CPU % of a core", "kb": "KB/connection", "open": "open at the end"}
    report.table(f"{readers} idle streams with a heartbeat every 2 s", figures, columns)
    report.goal(f"CPU % of {readers} idle streams", figures[_OURS].median("cpu"), 12)


def _end(report: Report, scale: Scale) -> None:
    options = ["--readers", scale.pick(1000, 100)]
    contenders: dict[str, Callable[[], Sample]] = {
        "ours, uvicorn": partial(_measure, "end", "ours", *options),
        "ours, uvicorn --workers 2": partial(_measure, "end", "ours", *options, arguments=("--workers", "2")),
        "ours, granian": partial(_measure, "end", "granian", *options),
        "sse-starlette, uvicorn": partial(_measure, "end", _PEER, *options),
    }
    figures = interleave(contenders, scale.pick(3, 1))
    columns = {"seconds": "seconds until gone", "clean": "streams ended cleanly, %"}
    report.table(f"SIGTERM with {options[1]} open streams", figures, columns)
    for name in list(contenders)[:3]:
        report.goal(f"seconds until gone, {name}", figures[name].median("seconds"), 2)
    storm = {"ours": partial(_measure, "storm", "ours", *options)}
    figures = interleave(storm, scale.pick(3, 1))
    columns = {"seconds": "seconds until all have it", "cpu_us": "server CPU µs/reader", "complete": "complete, %"}
    report.table(f"{options[1]} readers resume together, 100 events behind", figures, columns)
