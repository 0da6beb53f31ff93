"""A process that temporarily gets no threads: calls are asked to retry, and everything continues afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import httpx
import pytest
from anyio import CapacityLimiter

from starlette_webhooks import Webhooks
from starlette_webhooks.concurrency import run_in_thread
from starlette_webhooks.settings import WebhooksSettings
from tests.eventually import eventually
from tests.hosts import MOUNT, bearer, make_app, make_webhooks
from tests.scarcity import no_idle_threads
from tests.settings import make_settings

CALLS = 6


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> WebhooksSettings:
    """Settings for each backend that reads on threads. Streams end soon, so that a response is complete."""
    if request.param == "sqlite":
        return make_settings(tmp_path, stream_max_age=1)
    schema = request.getfixturevalue("postgresql_schema")
    url = request.getfixturevalue("postgresql_url")
    return make_settings(database=url, database_schema=schema, stream_max_age=1)


def client_of(webhooks: Webhooks) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=make_app(webhooks), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://host", headers=bearer("acme"), timeout=20)


async def at_once(call: Callable[[], Awaitable[httpx.Response]]) -> list[httpx.Response]:
    responses: list[httpx.Response] = []

    async def run() -> None:
        responses.append(await call())

    async with anyio.create_task_group() as tasks:
        for _ in range(CALLS):
            tasks.start_soon(run)
    return responses


async def test_without_a_free_thread_calls_get_503_and_streams_end_cleanly_until_there_is_one(
    settings: WebhooksSettings,
) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan(), client_of(webhooks) as client:
        first = await webhooks.emitter("acme").emit("invoice.paid", {})
        async with no_idle_threads():
            lists = await at_once(lambda: client.get(f"{MOUNT}/events"))
            streams = await at_once(lambda: client.get(f"{MOUNT}/events/stream", params={"last_event_id": "msg_1"}))
        assert {response.status_code for response in lists} <= {200, 503}
        assert 503 in {response.status_code for response in lists}
        assert all(response.headers["retry-after"] for response in lists if response.status_code == 503)
        # Calls that could not be authorised are refused. The others get a time to retry.
        assert {response.status_code for response in streams} <= {200, 503}
        assert all("retry:" in response.text for response in streams if response.status_code == 200)
        await webhooks.emitter("acme").emit("invoice.paid", {})

        async def resume() -> int:
            resumed = await client.get(f"{MOUNT}/events/stream", params={"last_event_id": first.id})
            return resumed.text.count("data: {")

        # A stream may reach its maximum age before the database is read again. Then a client resumes once more.
        assert await eventually(resume) == 1
        assert len((await client.get(f"{MOUNT}/events")).json()["events"]) == 2
        assert webhooks.health()["status"] == "ok"


async def test_an_error_of_the_function_in_a_thread_is_its_own() -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await run_in_thread(fail, limiter=CapacityLimiter(1))
