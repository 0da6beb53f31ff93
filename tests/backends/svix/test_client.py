"""Errors of the SDK become our errors, with Svix's messages."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import anyio
import pytest
from svix.api import MessageIn

from starlette_webhooks.backends.svix.client import SvixClient
from starlette_webhooks.backends.svix.errors import Missing, SvixRefused, SvixUnavailable
from starlette_webhooks.events import EventQuery
from starlette_webhooks.exceptions import BackendError, BackendRefused, BackendUnavailable, NotRunning
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.support import make, running
from tests.clock import Clock


@pytest.fixture
def svix_settings(svix_settings: WebhooksSettings) -> WebhooksSettings:
    """Keep the outbox in memory, because these tests do not depend on the disk."""
    return svix_settings.model_copy(update={"database": ":memory:"})


FAULTS: list[tuple[dict[str, Any], type[BackendError], str]] = [
    ({"status": 400, "body": b'{"code":"generic_error","detail":"bad query"}'}, BackendRefused, "bad query"),
    ({"status": 401, "body": b'{"code":"authentication_failed","detail":"no"}'}, BackendUnavailable, "SVIX_API_KEY"),
    ({"status": 403, "body": b'{"code":"insufficient access","detail":"no"}'}, BackendUnavailable, "SVIX_API_KEY"),
    ({"status": 404, "body": b""}, BackendRefused, "1.99"),
    ({"status": 404, "body": b'{"detail":"Not Found"}'}, BackendRefused, "SVIX_SERVER_URL"),
    ({"status": 409, "body": b'{"code":"conflict","detail":"A conflict"}'}, BackendRefused, "A conflict"),
    ({"status": 413, "body": b""}, BackendRefused, "413"),
    ({"status": 422, "body": b'{"detail":[{"loc":["query","x"],"msg":"bad"}]}'}, BackendRefused, "query.x: bad"),
    ({"status": 422, "body": b'{"detail":"a text"}'}, BackendRefused, "a text"),
    ({"status": 422, "body": b""}, BackendUnavailable, "502|422"),
    ({"status": 429, "body": b"", "headers": {"retry-after": "7"}}, BackendUnavailable, "fewer calls"),
    ({"status": 500, "body": b"{}"}, BackendUnavailable, "500"),
    ({"status": 500, "body": b""}, BackendUnavailable, "500"),
    ({"status": 500, "body": b'["a list"]'}, BackendUnavailable, "500"),
    ({"status": 502, "body": b"<html>Bad Gateway</html>"}, BackendUnavailable, "Bad Gateway"),
    ({"status": 503, "body": b"\xff\xfe"}, BackendUnavailable, "503"),
    ({"status": 307, "body": b""}, BackendUnavailable, "redirects"),
    ({"status": 200, "body": b""}, BackendUnavailable, "cannot parse"),
    ({"status": 200, "body": b"<html>"}, BackendUnavailable, "cannot parse"),
    ({"status": 200, "body": b'{"data":1}'}, BackendUnavailable, "cannot parse"),
    ({"status": 200, "body": b"[]"}, BackendUnavailable, "cannot parse"),
    ({"drop": True}, BackendUnavailable, "cannot be reached"),
]


async def test_every_failure_is_one_of_ours(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:

        async def check(number: int) -> None:
            fault, error, words = FAULTS[number]
            fake.fail(f"/app/tenant-{number}/msg$", times=10, **fault)
            with pytest.raises(error, match=words) as caught:
                await backend.list_events(f"tenant-{number}", EventQuery())
            assert not isinstance(caught.value, Missing), fault
            assert caught.value.__cause__ is not None, fault
            if fault.get("status") == 429:
                assert isinstance(caught.value, SvixUnavailable)
                assert caught.value.retry_after == 7

        async with anyio.create_task_group() as tasks:
            for number in range(len(FAULTS)):
                tasks.start_soon(check, number)


async def test_a_missing_server_and_an_invalid_url_are_unavailable(
    svix_settings: WebhooksSettings,
) -> None:
    for url in ("http://127.0.0.1:1", "http://no-such-host.invalid", "nonsense", "http://127.0.0.1:99999"):
        settings = svix_settings.model_copy(update={"svix_server_url": url, "database": ":memory:"})
        async with running(settings) as backend:
            with pytest.raises(BackendUnavailable):
                await backend.list_events("a", EventQuery())


async def test_a_call_ends_within_the_timeout_with_any_number_of_retries(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.fail("/msg$", times=10, status=None, delay=2)
    async with running(svix_settings.model_copy(update={"svix_timeout": 0.3})) as backend:
        started = time.monotonic()
        with pytest.raises(BackendUnavailable, match="in time"):
            await backend.list_events("a", EventQuery())
        assert time.monotonic() - started < 1.5


async def test_what_cannot_be_written_as_json_is_refused_before_it_is_sent(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    client = SvixClient(svix_settings, TimeSource())
    async with client.lifespan():
        message = MessageIn(event_type="a", payload={"file": object()})
        with pytest.raises(SvixRefused) as refused:
            await client.call(client.sdk.message.create, "a", message)
        assert refused.value.permanent
        assert not fake.calls


async def test_the_clock_of_svix_is_taken_from_its_answers(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    fake.clock = lambda: time.time() + 500
    client = SvixClient(svix_settings, TimeSource())
    async with client.lifespan():
        with pytest.raises(Missing):
            await client.call(client.sdk.application.delete, "a")
        assert 498.5 < client.now() - time.time() <= 500


async def test_the_clock_of_svix_is_unaffected_when_the_local_clock_is_set(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    clock = Clock()
    client = SvixClient(svix_settings, TimeSource(clock))
    async with client.lifespan():
        with pytest.raises(Missing):
            await client.call(client.sdk.application.delete, "a")
        for hours in (1, -1):
            clock.set_by(hours * 3600)
            assert abs(client.now() - time.time()) < 5


async def test_outside_its_lifespan_the_backend_says_that_it_does_not_run(svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        pass
    with pytest.raises(NotRunning):
        backend.submit([make("a")])
    with pytest.raises(NotRunning):
        await backend.list_events("a", EventQuery())
    assert backend.health()["status"] == "stopped"


async def test_a_date_that_is_none_changes_no_clock(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    fake.fail("/app/a$", status=404, body=b'{"code":"not_found","detail":""}', headers={"date": "yesterday"})
    client = SvixClient(svix_settings, TimeSource())
    async with client.lifespan():
        with pytest.raises(Missing):
            await client.call(client.sdk.application.delete, "a")
        assert abs(client.now() - time.time()) < 1


async def test_a_client_that_is_closed_calls_nothing(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    client = SvixClient(svix_settings, TimeSource())
    async with client.lifespan():
        pass
    with pytest.raises(NotRunning):
        await client.call(client.sdk.application.delete, "a")
    with pytest.raises(NotRunning):
        await client.filters_by_type()
    assert fake.calls == []


def test_on_trio_the_backend_says_what_to_do(svix_settings: WebhooksSettings) -> None:
    async def main() -> None:
        async with running(svix_settings):
            pass

    with pytest.raises(RuntimeError, match="asyncio"):
        anyio.run(main, backend="trio")


def test_importing_the_package_and_the_backend_does_not_import_the_sdk() -> None:
    code = (
        "import sys, starlette_webhooks; from starlette_webhooks.backends.svix import SvixBackend;"
        "sys.exit('svix' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
