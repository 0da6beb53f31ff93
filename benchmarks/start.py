"""The cost of importing, and the memory of an idle app."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

import psutil  # type: ignore[import-untyped]

from benchmarks.harness import Report, Sample, Scale, free_port, interleave, serve, uvicorn, workdir

_PROGRAM = """
import sys, time
cpu = time.process_time()
import {module}
print((time.process_time() - cpu) * 1000, len(sys.modules))
"""


def _import(module: str) -> Sample:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(module=module)], capture_output=True, text=True, check=True
    )
    spent, modules = done.stdout.split()
    return {"cpu_ms": float(spent), "modules": float(modules)}


def _weigh(factory: str, seconds: float) -> Sample:
    with workdir() as directory:
        port = free_port()
        line = uvicorn(f"benchmarks.emit:{factory}", port, "--factory")
        with serve(line, port, BENCH_DATABASE=str(directory / "log.db")) as process:
            time.sleep(seconds / 2)
            before = sum(process.cpu_times()[:2])
            time.sleep(seconds)
            cpu = sum(process.cpu_times()[:2]) - before
            return {"mb": psutil.Process(process.pid).memory_full_info().uss / 2**20, "idle": cpu / seconds * 100}


def run(scale: Scale) -> Report:
    """Measure imports, and idle servers."""
    report = Report("start")
    names = ("starlette.applications, starlette.routing", "starlette_webhooks", "starlette_webhooks.settings", "svix")
    figures = interleave({name: partial(_import, name) for name in names}, scale.pick(9, 3))
    report.table("Imports", figures, {"cpu_ms": "CPU ms", "modules": "modules loaded"})
    extra = figures["starlette_webhooks"].median("cpu_ms") - figures[names[0]].median("cpu_ms")
    report.goal("`import starlette_webhooks` above Starlette, ms", extra, 60)
    apps = {
        "bare Starlette app": "bare",
        "the same, and Pydantic's settings imported": "with_pydantic",
        "with the SQLite backend": "ours",
        "bare FastAPI app": "bare_fastapi",
        "FastAPI with the SQLite backend": "ours_fastapi",
    }
    seconds = scale.pick(2.0, 0.5)
    contenders = {title: partial(_weigh, factory, seconds) for title, factory in apps.items()}
    figures = interleave(contenders, scale.pick(3, 1))
    report.table("Idle under uvicorn", figures, {"mb": "own memory, MB", "idle": "CPU % of a core"})
    bare, pydantic, ours, fastapi, ours_fastapi = (one.median("mb") for one in figures.values())
    report.goal("memory of an idle app above bare Starlette, MB", ours - bare, 10)
    report.goal("the same without Pydantic's share, MB", ours - pydantic, 10)
    report.goal("memory of an idle app above bare FastAPI, MB", ours_fastapi - fastapi, 10)
    return report
