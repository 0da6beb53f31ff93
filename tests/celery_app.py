"""A Celery app as the docs show it, for a worker of its own: `python -m celery -A tests.celery_app worker`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from starlette_webhooks import Webhooks
from starlette_webhooks.exceptions import BackendUnavailable
from tests.settings import make_settings

DIRECTORY = Path(os.environ["CELERY_TEST_DIRECTORY"])
QUEUE = str(DIRECTORY / "queue")

app = Celery("tests.celery_app", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": QUEUE,
        "data_folder_out": QUEUE,
        "control_folder": str(DIRECTORY / "control"),
    },
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)

webhooks = Webhooks(event_types=["report.ready"], settings=make_settings(DIRECTORY, deliver=False))
emitter = webhooks.blocking()
open_emitter = ExitStack()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def start(**kwargs: object) -> None:
    """Enter the emitter once a process."""
    with (DIRECTORY / "started").open("a") as file:
        file.write(f"{os.getpid()}\n")
    open_emitter.enter_context(emitter)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def stop(**kwargs: object) -> None:
    """Leave the emitter."""
    open_emitter.close()


@app.task(autoretry_for=(BackendUnavailable,), retry_backoff=True)  # type: ignore[untyped-decorator]
def report(tenant: str, month: str) -> None:
    """Emit an event in a worker."""
    data = {"month": month, "process": os.getpid()}
    emitter.send("report.ready", data, tenant=tenant, event_id=f"report-{month}")
