"""Shared by all subjects: processes, interleaved repeats, medians with ranges, goals, and the report."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

__all__ = ["Figures", "Report", "Scale", "command", "free_port", "interleave", "run_json", "serve", "workdir"]

_ROOT = Path(__file__).parent.parent
_PACKAGES = ("starlette", "anyio", "uvicorn", "httptools", "granian", "sse-starlette", "fastapi", "aiohttp", "svix")

Sample = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: everything, or the short form that shows that it works."""

    short: bool = False
    repeats: int = 5

    def pick(self, whole: Any, short: Any) -> Any:
        """One of two sizes."""
        return short if self.short else whole


@dataclass(slots=True)
class Figures:
    """The samples of one contender, by name of the figure."""

    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        """Add the figures of one repeat."""
        for name, value in sample.items():
            self.samples.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """The median over the repeats."""
        return statistics.median(self.samples[name])

    def text(self, name: str) -> str:
        """Median and range."""
        values = self.samples.get(name)
        if not values:
            return ""
        middle = _number(statistics.median(values))
        if len(values) == 1 or min(values) == max(values):
            return middle
        return f"{middle} ({_number(min(values))} to {_number(max(values))})"


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def interleave(contenders: Mapping[str, Callable[[], Sample]], repeats: int) -> dict[str, Figures]:
    """Measure A B C, C B A, A B C and so on, so that a slow phase of the machine affects all contenders equally."""
    figures = {name: Figures() for name in contenders}
    order = list(contenders)
    for _ in range(repeats):
        for name in order:
            figures[name].add(contenders[name]())
        order.reverse()
    return figures


class Report:
    """Tables and goals of one subject."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.started = time.time()
        self.tables: list[dict[str, Any]] = []
        self.goals: list[dict[str, Any]] = []

    def table(self, title: str, figures: Mapping[str, Figures], columns: Mapping[str, str]) -> None:
        """Add a table with one row per contender. `columns` maps figures to headings."""
        rows = {name: {column: one.samples.get(column, []) for column in columns} for name, one in figures.items()}
        self.tables.append({"title": title, "columns": dict(columns), "rows": rows})
        head = ["", *columns.values()]
        body = [[name, *(one.text(column) for column in columns)] for name, one in figures.items()]
        print(f"\n{title}\n")
        print(_markdown([head, *body]), flush=True)

    def goal(self, text: str, value: float, limit: float, *, at_least: bool = False) -> None:
        """Compare a figure with its goal. A missed goal is not an error."""
        met = value >= limit if at_least else value <= limit
        self.goals.append({"goal": text, "value": value, "limit": limit, "at_least": at_least, "met": met})
        sign = "at least" if at_least else "at most"
        print(f"  {'met   ' if met else 'MISSED'} {text}: {_number(value)} ({sign} {_number(limit)})", flush=True)

    def document(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "subject": self.subject,
            "seconds": round(time.time() - self.started, 1),
            "tables": self.tables,
            "goals": self.goals,
        }


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


# Processes


def command(module: str, *arguments: object) -> list[str]:
    """Return the command line of one of our own processes."""
    return [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]


def run_json(module: str, *arguments: object, timeout: float = 300) -> Any:
    """Run one of our processes to its end, and read the JSON that it prints last."""
    done = subprocess.run(
        command(module, *arguments), cwd=_ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{module} {arguments} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def serve(arguments: Sequence[str], port: int, **environment: str) -> Generator[psutil.Process]:
    """Run a server process until the block ends. Entered once it listens."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            arguments, cwd=_ROOT, env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait_for(port, process, log)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Any) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    log.seek(0)
    raise RuntimeError(f"{process.args!r} does not listen:\n{log.read().decode()[-4000:]}")


def uvicorn(target: str, port: int, *arguments: str) -> list[str]:
    """Return the command line of a uvicorn server with httptools on asyncio's loop."""
    own = ["--http", "httptools", "--loop", "asyncio", "--no-access-log", "--log-level", "warning"]
    return [sys.executable, "-m", "uvicorn", target, "--port", str(port), *own, *arguments]


@contextmanager
def workdir() -> Iterator[Path]:
    """A directory on disk for databases. It is removed at the end."""
    base = os.environ.get("BENCH_DIR")
    path = Path(tempfile.mkdtemp(prefix="bench-", dir=base))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def facts() -> dict[str, Any]:
    """Describe the machine and the versions."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load_before": os.getloadavg()[0],
        "packages": versions,
    }
