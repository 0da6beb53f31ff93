"""What operators see of an outbox in the host's own database."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from starlette_webhooks import Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.outbox import Outbox
from tests.eventually import eventually
from tests.outbox.test_relay import LOOPS, Moody, commit, logged
from tests.settings import make_settings


async def reasons(webhooks: Webhooks) -> list[str]:
    transport = httpx.ASGITransport(webhooks.health_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
        answer: dict[str, Any] = (await client.get("/readyz")).json()
    return list(answer["reasons"])


@LOOPS
async def test_health_has_the_figures_of_the_outbox_and_readiness_goes_by_them(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    outbox = Outbox(engine)
    outbox.metadata.create_all(engine)
    settings = make_settings(tmp_path, ready_outbox_age=0.001, ready_dead_letters=1)
    backend = Moody(settings)
    webhooks = Webhooks(event_types=["order.created"], settings=settings, backend=backend, outbox=outbox)
    async with webhooks.lifespan():
        assert await reasons(webhooks) == []
        backend.away = True
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO webhooks_outbox (id, tenant, body) VALUES ('broken', 'acme', 'x')"))
        ids = [commit(webhooks, engine) for _ in range(2)]

        async def late() -> bool:
            return await reasons(webhooks) == ["outbox", "dead_letters"]

        await eventually(late)
        found = webhooks.health()["hostOutbox"]
        assert (found["waiting"], found["deadLettered"]) == (2, 1)
        assert 0 < found["oldestSeconds"] < 60
        backend.away = False
        await logged(webhooks, *ids)
        await webhooks.discard_dead_letters(["broken"])

        async def well() -> bool:
            return await reasons(webhooks) == []

        await eventually(well)
    assert webhooks.health()["hostOutbox"] == {"here": False, "problem": None}
    engine.dispose()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # The driver knows asyncio only.
async def test_operators_and_the_relay_share_an_async_engine(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'host.db'}")
    sync = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    outbox = Outbox(engine, sync)
    outbox.metadata.create_all(sync)
    settings = make_settings(tmp_path)
    webhooks = Webhooks(
        event_types=["order.created"], settings=settings, backend=MemoryBackend(settings), outbox=outbox
    )

    async def look() -> None:
        for _ in range(10):
            assert await webhooks.dead_letters() == []

    async with webhooks.lifespan():
        ids = []
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(look)
            for _ in range(5):
                with Session(sync) as session:
                    ids.append(webhooks.emitter("acme").emit("order.created", within=session).event.id)
                    await anyio.to_thread.run_sync(session.commit)
        await logged(webhooks, *ids)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    await engine.dispose()
    sync.dispose()
