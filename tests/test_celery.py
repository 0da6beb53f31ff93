"""A real Celery worker emits with a blocking emitter, which it enters once a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.eventually import wait_for
from tests.servers import ROOT

pytest.importorskip("celery", reason="Celery is not installed.")

MONTHS = ["2026-09", "2026-10", "2026-11"]
SEND = """
import sys
from tests.celery_app import report

for month in sys.argv[1:]:
    report.delay("acme", month)
"""


def read(path: Path) -> list[Event]:
    async def run() -> list[Event]:
        store = SQLiteStore(str(path))
        async with store.lifespan():
            return list((await store.list_events("acme", EventQuery())).items)

    return anyio.run(run)


@pytest.mark.slow  # A worker takes seconds to start.
def test_a_worker_emits_each_event_once_and_enters_the_lifespan_once(tmp_path: Path) -> None:
    for name in ("queue", "control"):
        (tmp_path / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WEBHOOKS_", "SVIX_"))}
    environment = {**kept, "PYTHONPATH": str(ROOT), "CELERY_TEST_DIRECTORY": str(tmp_path)}
    # A task that runs twice, as with a broker that repeats one.
    subprocess.run([sys.executable, "-c", SEND, *MONTHS, MONTHS[0]], env=environment, check=True, timeout=50)
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "tests.celery_app", "worker", "--loglevel=INFO"]
    options = ["--pool=prefork", "--concurrency=1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    with log.open("w") as output:
        worker = subprocess.Popen([*command, *options], env=environment, stdout=output, stderr=output)
        try:
            wait_for(lambda: log.read_text().count("succeeded in") == 4, timeout=50, log=log)
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(timeout=30)
    events = read(tmp_path / "webhooks.db")
    assert sorted(event.data["month"] for event in events) == MONTHS
    started = (tmp_path / "started").read_text().split()
    assert {str(event.data["process"]) for event in events} == set(started)
    assert len(started) == 1
