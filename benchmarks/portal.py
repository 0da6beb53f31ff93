"""The portal in Chromium: from opening an address to its first row, and the longest task on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Report, Sample, Scale, free_port, interleave, serve, uvicorn, workdir
from benchmarks.portal_app import fill

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_ROWS = 25
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
_CATEGORIES = ["blink.user_timing", "devtools.timeline", "disabled-by-default-devtools.timeline", "__metadata"]
# Marked before the first frame that has the row. Watching each frame instead would make the page paint all the time.
_WATCH = """
window.firstRow = new Promise((resolve) => {
  const shown = () => resolve(performance.mark("first row").startTime);
  const observer = new MutationObserver(() => {
    if (!document.querySelector(%s)) return;
    observer.disconnect();
    requestAnimationFrame(shown);
  });
  observer.observe(document, { childList: true, subtree: true });
});
"""


def run(scale: Scale) -> Report:
    """Open each view, without a cache, beside a static page of the same server with as many rows."""
    report = Report("portal")
    if shutil.which("chromium") is None:
        print("Chromium is not installed.")
        return report
    events, endpoints = scale.pick((10_000, 1000), (500, 50))
    with workdir() as directory:
        database = str(directory / "log.db")
        known = fill(database, events=events, endpoints=endpoints)
        port = free_port()
        line = uvicorn("benchmarks.portal_app:app", port, "--factory")
        with serve(line, port, BENCH_DATABASE=database), _browser() as browser:
            address = f"http://127.0.0.1:{port}"
            contenders = _contenders(browser, address, known)
            figures = interleave(contenders, scale.pick(scale.repeats, 1))
    columns = {"row_ms": "first row, ms", "task_ms": "longest task, ms", "cpu_ms": "most CPU of a task, ms"}
    report.table(f"Chromium without a cache, {events:,} events, {endpoints:,} endpoints", figures, columns)
    for name in list(contenders)[1:]:
        report.goal(f"{name}: first row, ms", figures[name].median("row_ms"), 500)
        report.goal(f"{name}: longest task, ms", figures[name].median("task_ms"), 100)
    return report


def _contenders(browser: Browser, address: str, known: Mapping[str, str]) -> dict[str, Callable[[], Sample]]:
    views = {
        f"a static page of {_ROWS} rows": (f"/rows?count={_ROWS}", "tr"),
        "endpoints": ("#/endpoints", "table[aria-label=Endpoints] tbody tr"),
        "an endpoint": (f"#/endpoints/{known['endpoint']}", "table[aria-label=Deliveries] tbody tr"),
        "events": ("#/events", "table[aria-label=Events] tbody tr"),
        "an event, delivered to all endpoints": (f"#/events/{known['event']}", ".delivery"),
        "undelivered events": ("#/undelivered", "table[aria-label=Undelivered] tbody tr"),
    }
    return {
        name: partial(_open, browser, f"{address}{'' if view.startswith('/') else '/hooks/dashboard'}{view}", row)
        for name, (view, row) in views.items()
    }


@contextmanager
def _browser() -> Generator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(_FLAGS))
        yield browser
        browser.close()


def _open(browser: Browser, url: str, row: str) -> Sample:
    """Open a page twice, each time in a new context: for the first row, and for a trace, which slows the page down."""
    with _page(browser, row) as page:
        page.goto(url)
        shown = page.evaluate("window.firstRow")
        page.wait_for_load_state("networkidle")
    with _page(browser, row) as page:
        browser.start_tracing(page=page, categories=_CATEGORIES)
        page.goto(url)
        page.evaluate("window.firstRow")
        page.wait_for_load_state("networkidle")
        trace = json.loads(browser.stop_tracing())
    tasks = _tasks(trace["traceEvents"])
    # With busy cores, a task takes longer than the CPU time that it needs.
    longest, cpu = (max(task.get(name, 0) for task in tasks) / 1000 for name in ("dur", "tdur"))
    return {"row_ms": float(shown), "task_ms": longest, "cpu_ms": cpu}


@contextmanager
def _page(browser: Browser, row: str) -> Generator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(_WATCH % json.dumps(row))
    yield context.new_page()
    context.close()


def _tasks(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tasks on the main thread of the page, whose times are in microseconds."""
    (process,) = {event["pid"] for event in events if event["name"] == "first row"}
    names = [event for event in events if event["name"] == "thread_name" and event["pid"] == process]
    (main,) = {event["tid"] for event in names if event["args"]["name"] == "CrRendererMain"}
    return [event for event in events if event["name"] == "RunTask" and (event["pid"], event["tid"]) == (process, main)]


__all__ = ["run"]
