"""`/healthz` and `/readyz`, and the thresholds that they go by."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy import create_engine

from starlette_webhooks import EventType, Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.health import Health
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.probes import HealthApp
from starlette_webhooks.readiness import reasons_against, with_fresh_figures
from tests.clock import Clock
from tests.eventually import eventually
from tests.settings import make_settings


async def get(webhooks: Webhooks, path: str, method: str = "GET") -> tuple[int, Any]:
    transport = httpx.ASGITransport(webhooks.health_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
        response = await client.request(method, path)
        return response.status_code, response.json() if response.content else None


def make_webhooks(tmp_path: Path, **settings: Any) -> Webhooks:
    chosen = make_settings(tmp_path, **settings)
    return Webhooks(event_types=[EventType("a.b")], settings=chosen, backend=MemoryBackend(chosen))


async def test_both_answer_200_while_the_app_runs_and_503_outside(tmp_path: Path) -> None:
    webhooks = make_webhooks(tmp_path)
    unavailable = (503, {"status": "unavailable", "reasons": ["stopped"]})
    assert await get(webhooks, "/healthz") == await get(webhooks, "/readyz") == unavailable
    async with webhooks.lifespan():
        ok = (200, {"status": "ok", "reasons": []})
        assert await get(webhooks, "/healthz") == await get(webhooks, "/readyz") == ok
        assert await get(webhooks, "/healthz", "HEAD") == (200, None)
        assert webhooks.health()["reasons"] == []
    assert (await get(webhooks, "/readyz"))[0] == 503


async def test_a_draining_process_is_alive_but_not_ready(tmp_path: Path) -> None:
    webhooks = make_webhooks(tmp_path)
    async with webhooks.lifespan():
        webhooks.drain()
        assert (await get(webhooks, "/healthz"))[0] == 200
        assert await get(webhooks, "/readyz") == (503, {"status": "unavailable", "reasons": ["draining"]})


async def test_a_late_backlog_counts_if_there_is_a_threshold(tmp_path: Path) -> None:
    # Nothing is delivered, so the delivery is late from its beginning.
    webhooks = make_webhooks(tmp_path, deliver=False, ready_backlog_age=0.001)
    async with webhooks.lifespan():
        await webhooks.endpoints("acme").create("https://93.184.215.14/hooks")
        await webhooks.emitter("acme").send("a.b", {})

        async def late() -> bool:
            return bool((await get(webhooks, "/readyz"))[1]["reasons"] == ["backlog"])

        await eventually(late)
        health = webhooks.health()
        assert (health["status"], health["reasons"]) == ("degraded", ["backlog"])
        assert health["deliveries"]["waiting"] == 1
        assert health["endpoints"] == {"total": 1, "failing": 0, "disabled": 0}
        assert health["figuresAgeSeconds"] < 5
        assert health["dispatchers"] == {"here": False, "busy": 0, "problem": None, "alive": 0}
        assert json.loads(json.dumps(health)) == health


@pytest.mark.parametrize(
    ("found", "settings", "reasons"),
    [
        ({"database": {"problem": "It is full."}}, {}, ["database"]),
        ({"outbox": {"waiting": 9, "oldestSeconds": 99.0, "deadLettered": 3}}, {}, []),
        ({"outbox": {"waiting": 9, "oldestSeconds": 99.0, "deadLettered": 3}}, {"ready_outbox_age": 60}, ["outbox"]),
        ({"outbox": {"waiting": 0, "oldestSeconds": 0.0, "deadLettered": 3, "problem": "Away."}}, {}, ["database"]),
        (
            {"hostOutbox": {"here": True, "problem": None, "oldestSeconds": 1.0, "deadLettered": 3}},
            {"ready_outbox_age": 60, "ready_dead_letters": 3},
            ["dead_letters"],
        ),
        ({"dispatchers": {"here": True, "lateSeconds": 59.0}}, {}, []),
        ({"dispatchers": {"here": True, "lateSeconds": 61.0}}, {}, ["dispatcher"]),
        ({"dispatchers": {"here": True, "lateSeconds": 61.0}}, {"alive_dispatcher_age": 0}, []),
        ({"dispatchers": {"here": True, "lateSeconds": 61.0}, "database": {"problem": "Full."}}, {}, ["database"]),
        ({"deliveries": {"oldestDueSeconds": 59.0}}, {"ready_backlog_age": 60}, []),
        ({"deliveries": {"oldestDueSeconds": 61.0}}, {"ready_backlog_age": 60}, ["backlog"]),
    ],
)
def test_thresholds_decide_what_counts(
    found: dict[str, Any], settings: dict[str, Any], reasons: list[str], tmp_path: Path
) -> None:
    health: Health = {"status": "ok", "backend": "sqlite", **found}  # type: ignore[typeddict-item]
    assert reasons_against(health, make_settings(tmp_path, **settings)) == reasons


async def test_a_process_whose_dispatcher_stands_still_is_to_be_restarted(tmp_path: Path) -> None:
    webhooks, clock = make_webhooks(tmp_path), Clock()
    webhooks.backend.set_clock(clock, clock.monotonic)
    async with webhooks.lifespan():
        # It looks for deliveries every second, so its next turn is late.
        clock.advance(70)
        stalled = webhooks.health()
        assert (stalled["status"], stalled["reasons"]) == ("degraded", ["dispatcher"])
        webhooks.backend.wake()
        await eventually(lambda: webhooks.health()["reasons"] == [])
    app = HealthApp(lambda *, figures: stalled, webhooks.backend.refresh_figures, webhooks.settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as client:
        response = await client.get("/healthz")
    assert (response.status_code, response.json()["reasons"]) == (503, ["dispatcher"])


async def test_health_tells_the_last_warnings_and_errors(tmp_path: Path) -> None:
    webhooks = make_webhooks(tmp_path)
    logger = logging.getLogger("starlette_webhooks")
    async with webhooks.lifespan():
        logger.info("This is not worth telling.")
        for number in range(12):
            logger.warning("This is number %d.", number)
        found = [error["message"] for error in webhooks.health()["lastErrors"]]
        assert found == [f"This is number {number}." for number in range(2, 12)]
    logger.warning("This comes later.")
    async with webhooks.lifespan():
        assert webhooks.health()["lastErrors"][-1]["message"] == "This is number 11."


async def test_figures_that_are_older_than_two_seconds_are_read_again(tmp_path: Path) -> None:
    webhooks, clock = make_webhooks(tmp_path, deliver=False, ready_dead_letters=1), Clock()
    webhooks.backend.set_clock(clock, clock.monotonic)
    async with webhooks.lifespan():
        assert (await webhooks.fresh_health())["figuresAgeSeconds"] < 2, "also before they were first read"
        clock.advance(3600)
        # It cannot wait, and says so.
        assert webhooks.health()["figuresAgeSeconds"] >= 3600
        assert (await webhooks.fresh_health())["figuresAgeSeconds"] < 2
        clock.advance(3600)
        assert (await get(webhooks, "/readyz"))[0] == 200
        assert webhooks.health()["figuresAgeSeconds"] < 2
    assert (await webhooks.fresh_health())["status"] == "stopped"


async def test_figures_stay_old_while_the_database_does_not_answer() -> None:
    health: Health = {"status": "ok", "backend": "sqlite", "figuresAgeSeconds": 9.0}
    assert await with_fresh_figures(lambda: health, anyio.sleep_forever, within=0.01) == health


class WithoutFigures(MemoryBackend):
    """A backend without figures of its own, as Svix is."""

    def health(self, *, figures: bool = True) -> Health:
        return super().health(figures=False)


async def test_figures_of_an_outbox_of_the_host_have_an_age_too(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    outbox, settings = Outbox(engine), make_settings(tmp_path)
    outbox.metadata.create_all(engine)
    webhooks = Webhooks(settings=settings, backend=WithoutFigures(settings), outbox=outbox)
    async with webhooks.lifespan():
        health = await webhooks.fresh_health()
        assert health["hostOutbox"]["waiting"] == 0
        assert health["figuresAgeSeconds"] < 2
    engine.dispose()
