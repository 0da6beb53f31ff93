"""Recovery of many events: one at a time per endpoint, only while the client waits, and without delaying others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from starlette.types import Message

from starlette_webhooks import Conflict, Webhooks
from starlette_webhooks.settings import WebhooksSettings
from tests.hosts import make_webhooks

EVENTS = 1600


@pytest.fixture
async def webhooks(settings: WebhooksSettings) -> AsyncIterator[Webhooks]:
    """Create a backend with many events and an idle dispatcher."""
    webhooks = make_webhooks(settings.model_copy(update={"deliver": False}))
    async with webhooks.lifespan():
        await webhooks.emitter("acme").emit_many([("invoice.paid", {"number": n}) for n in range(EVENTS)])
        yield webhooks


async def make_endpoint(webhooks: Webhooks) -> str:
    return (await webhooks.endpoints("acme").create("https://hooks.example.com/")).id


async def recover(webhooks: Webhooks, endpoint: str) -> int:
    since = datetime.now(UTC) - timedelta(hours=1)
    return await webhooks.endpoints("acme").recover(endpoint, since, missing=True)


async def test_a_second_recovery_of_an_endpoint_is_refused_while_one_runs(webhooks: Webhooks) -> None:
    endpoint, other = await make_endpoint(webhooks), await make_endpoint(webhooks)
    recovered: list[int] = []

    async def run(id: str) -> None:
        recovered.append(await recover(webhooks, id))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, endpoint)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Conflict, match="is running") as caught:
            await recover(webhooks, endpoint)
        assert caught.value.code == "recovery_running"
        tasks.start_soon(run, other)
    assert recovered == [EVENTS, EVENTS]
    assert await recover(webhooks, endpoint) == 0


class Impatient:
    """A client that calls, and closes the connection once the call is running."""

    def __init__(self, endpoint: str) -> None:
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        body = json.dumps({"since": since, "missing": True}).encode()
        self.messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        headers = [(b"authorization", b"Bearer acme"), (b"content-type", b"application/json"), (b"host", b"testserver")]
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": f"/endpoints/{endpoint}/recover",
            "query_string": b"",
            "headers": headers,
        }
        self.status = 0

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop()
        await anyio.wait_all_tasks_blocked()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.status = message.get("status", self.status)


async def test_a_recovery_ends_with_its_client(webhooks: Webhooks) -> None:
    endpoint = await make_endpoint(webhooks)
    client = Impatient(endpoint)
    await webhooks(client.scope, client.receive, client.send)
    assert client.status == 400
    assert await recover(webhooks, endpoint) > 0, "the others are still to be recovered"
