"""Nothing of the package blocks the event loop, from the start of a host to its end."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
from blockbuster import BlockingError, blockbuster_ctx
from starlette.types import ASGIApp, Message

from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.stores.sqlite.opening import check_for_damage
from starlette_webhooks.testing import receiving
from tests.hosts import MOUNT, bearer, make_app, make_webhooks
from tests.settings import make_settings

ACME = bearer("acme")


@pytest.fixture
def anyio_backend() -> str:
    """BlockBuster supports asyncio only."""
    return "asyncio"


@contextmanager
def no_blocking_calls() -> Generator[None]:
    """Makes blocking calls of the package raise on the event loop."""
    with blockbuster_ctx("starlette_webhooks", excluded_modules=["starlette_webhooks.testing"]) as blockbuster:
        allowed = {
            # Reads an inode, which takes microseconds, because the system has it in its cache.
            ("os.stat", "sqlite/presence.py"): "_identity",
            # Runs fifty times a second. A thread would cost more than these microseconds.
            ("sqlite3.Connection.execute", "sqlite/notifier.py"): {"_follow", "_look_for_deliveries"},
            ("sqlite3.Cursor.fetchone", "sqlite/notifier.py"): {"_follow", "_look_for_deliveries"},
            # The thread has all but ended.
            ("threading.Lock.acquire", "writer.py"): "stop",
        }
        for (function, file), callers in allowed.items():
            blockbuster.functions[function].can_block_in(f"starlette_webhooks/stores/{file}", callers)
        blockbuster.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", "lock_data")
        yield


@pytest.fixture(params=["sqlite", "memory", "postgresql"])
def host_settings(request: pytest.FixtureRequest, settings: WebhooksSettings) -> WebhooksSettings:
    """The settings of a host on each store."""
    if request.param == "memory":
        return make_settings()
    if request.param == "postgresql":
        return settings.model_copy(update={"database": request.getfixturevalue("postgresql_url")})
    return settings


async def first_frames(app: ASGIApp, path: str, *, last_event_id: str) -> bytes:
    """Return what a stream sends up to its first event. The test client would wait for its end."""
    body, sent = b"", anyio.Event()
    headers = [(b"authorization", ACME["Authorization"].encode()), (b"last-event-id", last_event_id.encode())]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers, "state": {}}

    async def receive() -> Message:
        await sent.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal body
        body += message.get("body", b"")
        if b"\ndata: {" in body:
            sent.set()

    with anyio.fail_after(10):
        await app(scope, receive, send)
    return body


async def test_a_host_never_blocks_the_loop(
    host_settings: WebhooksSettings,
) -> None:
    webhooks = make_webhooks(host_settings)
    app = make_app(webhooks)
    with receiving() as receiver, no_blocking_calls():
        transport = httpx2.ASGITransport(app=app)
        async with (
            webhooks.lifespan(),
            httpx2.AsyncClient(transport=transport, base_url="http://test", headers=ACME) as client,
        ):
            endpoint = (await client.post(f"{MOUNT}/endpoints", json=receiver.endpoint)).json()
            at = f"{MOUNT}/endpoints/{endpoint['id']}"
            emitted = (await client.post("/emit", json={}, headers={"X-User": "acme"})).json()["id"]
            await receiver.received()
            assert emitted.encode() in await first_frames(app, f"{MOUNT}/events/stream", last_event_id="msg_0")
            for path in (
                f"{MOUNT}/events",
                f"{MOUNT}/events?channel=eu&event_type=invoice.paid",
                f"{MOUNT}/events/{emitted}",
                f"{MOUNT}/events/{emitted}/attempts",
                f"{MOUNT}/event-types",
                f"{MOUNT}/endpoints",
                f"{at}/secret",
                f"{at}/attempts",
                f"{at}/stats",
                f"{MOUNT}/openapi.json",
            ):
                assert (await client.get(path)).status_code == 200, path
            for path in (
                f"{MOUNT}/test",
                f"{at}/test",
                f"{at}/secret/rotate",
                f"{at}/recover",
                f"{MOUNT}/events/{emitted}/endpoints/{endpoint['id']}/resend",
                f"{MOUNT}/portal",
            ):
                answer = await client.post(path, json={"since": "2020-01-01T00:00:00Z"} if "recover" in path else None)
                assert answer.status_code < 300, (path, answer.text)
            assert (await client.patch(at, json={"description": "changed"})).status_code == 200
            assert (await client.delete(at)).status_code == 204


async def test_a_blocking_call_would_be_noticed(tmp_path: Path) -> None:
    with no_blocking_calls(), pytest.raises(BlockingError):
        check_for_damage(str(tmp_path / "webhooks.db"), seconds=1)
