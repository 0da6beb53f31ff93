"""The lifespan: installed once or several times, failing at startup, and emitting around the host's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from starlette_webhooks import BackendUnavailable, NotRunning, Webhooks, WebhooksMiddleware
from starlette_webhooks.events import EventQuery
from starlette_webhooks.settings import WebhooksSettings
from tests.eventually import eventually
from tests.forking import in_child
from tests.holding import holding_file_lock
from tests.hosts import MOUNT, bearer, make_app, make_webhooks
from tests.servers import COMMANDS, ROOT, free_port
from tests.settings import make_settings


async def count(webhooks: Webhooks) -> int:
    return len((await webhooks.backend.list_events("acme", EventQuery())).items)


async def test_a_script_emits_within_the_lifespan(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        webhooks.emitter("acme").emit("invoice.paid", {})
    async with webhooks.lifespan():
        assert await count(webhooks) == 1, "it was committed at the end of the first lifespan"


async def test_a_second_entry_does_nothing_and_its_end_closes_nothing(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        async with webhooks.lifespan():
            await webhooks.emitter("acme").emit("invoice.paid", {})
        await webhooks.emitter("acme").emit("invoice.paid", {})
        assert await count(webhooks) == 2
    with pytest.raises(NotRunning):
        webhooks.emitter("acme").emit("invoice.paid", {})


async def test_overlapping_jobs_store_their_events_in_any_order_of_leaving(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    first_is_in, second_is_in, first_has_left = anyio.Event(), anyio.Event(), anyio.Event()

    async def first() -> None:
        async with webhooks.lifespan():
            first_is_in.set()
            await second_is_in.wait()
            await webhooks.emitter("acme").emit("invoice.paid", {})
        first_has_left.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await first_is_in.wait()
        async with webhooks.lifespan():
            second_is_in.set()
            await first_has_left.wait()
            await webhooks.emitter("acme").emit("invoice.paid", {})
    async with webhooks.lifespan():
        assert await count(webhooks) == 2


async def test_in_a_forked_child_nothing_is_emitted_and_nothing_runs(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)

    def emit() -> int:
        try:
            webhooks.emitter("acme").emit("invoice.paid", {})
        except NotRunning:
            return int(webhooks.health()["status"] != "stopped")
        return 2

    async with webhooks.lifespan():
        assert await anyio.to_thread.run_sync(in_child, emit) == 0
        assert await count(webhooks) == 0
        assert webhooks.health()["status"] == "ok"


async def test_a_stopped_process_that_holds_the_database_degrades_health(tmp_path: Path) -> None:
    webhooks = make_webhooks(make_settings(tmp_path, database_timeout=0.2))
    async with webhooks.lifespan():
        holder = holding_file_lock(tmp_path / "webhooks.db")
        pid = await anyio.to_thread.run_sync(holder.__enter__)
        try:
            with pytest.raises(BackendUnavailable, match=f"process {pid} has held its lock"):
                await webhooks.emitter("acme").emit("invoice.paid", {})
            health = webhooks.health()
            assert health["status"] == "degraded"
            assert str(pid) in (health["database"].get("problem") or "")
        finally:
            await anyio.to_thread.run_sync(holder.__exit__, None, None, None)
        await eventually(lambda: webhooks.health()["status"] == "ok")


async def test_an_error_of_the_block_is_raised_as_it_is(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    with pytest.raises(LookupError, match="the host's own"):
        async with webhooks.lifespan():
            webhooks.emitter("acme").emit("invoice.paid", {})
            raise LookupError("the host's own")
    async with webhooks.lifespan():
        assert await count(webhooks) == 1


def test_the_middleware_and_the_hosts_lifespan_may_both_run_it(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    with TestClient(make_app(webhooks, lifespan=webhooks.lifespan)) as client:
        assert client.post("/emit", json={}, headers={"X-User": "acme"}).status_code == 200


def test_the_mounted_app_serves_alone(settings: WebhooksSettings) -> None:
    with TestClient(make_webhooks(settings)) as client:
        assert client.get("/events", headers=bearer("acme")).status_code == 200


def test_the_host_emits_in_its_own_startup_and_shutdown(settings: WebhooksSettings, anyio_backend: str) -> None:
    webhooks = make_webhooks(settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        webhooks.emitter("acme").emit("invoice.paid", {"at": "startup"})
        yield
        webhooks.emitter("acme").emit("invoice.paid", {"at": "shutdown"})

    with TestClient(make_app(webhooks, lifespan=lifespan), backend=anyio_backend):  # type: ignore[arg-type]
        pass

    async def look() -> int:
        async with webhooks.lifespan():
            return await count(webhooks)

    assert anyio.run(look) == 2


def test_without_a_lifespan_a_request_fails_loudly(settings: WebhooksSettings) -> None:
    client = TestClient(make_app(make_webhooks(settings)))
    with pytest.raises(NotRunning, match="WebhooksMiddleware"):
        client.post("/emit", json={}, headers={"X-User": "acme"})
    with pytest.raises(NotRunning, match="WebhooksMiddleware"):
        client.get(f"{MOUNT}/events", headers=bearer("acme"))


def test_a_database_that_cannot_be_opened_fails_the_start(tmp_path: Path) -> None:
    webhooks = make_webhooks(make_settings(tmp_path, database=str(tmp_path / "no" / "such.db")))
    with pytest.raises(BackendUnavailable, match="WEBHOOKS_DATABASE"), TestClient(make_app(webhooks)):
        raise AssertionError("it started")


@pytest.mark.parametrize("server", ["uvicorn", "granian", "hypercorn"])
def test_a_real_server_does_not_serve_when_the_backend_cannot_start(tmp_path: Path, server: str) -> None:
    port = free_port()
    command = [part.format(app="tests.serve:app", port=port) for part in COMMANDS[server]]
    environment = {
        "WEBHOOKS_DATABASE": str(tmp_path / "no" / "such.db"),
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/bin:/bin",
    }
    result = subprocess.run([sys.executable, *command], env=environment, capture_output=True, timeout=30, cwd=tmp_path)
    assert b"WEBHOOKS_DATABASE" in result.stderr + result.stdout


async def test_the_middleware_reports_a_failing_shutdown_of_the_host(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    sent: list[dict[str, Any]] = []
    incoming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        raise LookupError("while stopping")

    app = WebhooksMiddleware(Starlette(lifespan=lifespan), webhooks)
    with pytest.raises(LookupError):
        await app({"type": "lifespan", "asgi": {}}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.failed"]
    with pytest.raises(NotRunning):
        webhooks.emitter("acme").emit("invoice.paid", {})


def test_health_shows_the_backend_and_the_streams(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    assert webhooks.health()["status"] == "stopped"
    with TestClient(make_app(webhooks)):
        health = webhooks.health()
    assert (health["backend"], health["status"]) == ("sqlite", "ok")
    assert health["streams"]["streams"] == 0


async def test_erase_removes_all_of_one_tenant_and_nothing_of_others(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        for tenant in ("acme", "globex"):
            await webhooks.emitter(tenant).emit("invoice.paid", {}, channels=["eu"])
        await webhooks.erase("acme")
        assert await count(webhooks) == 0
        assert len((await webhooks.backend.list_events("globex", EventQuery(channel="eu"))).items) == 1
