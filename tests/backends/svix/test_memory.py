"""An outbox in memory: a response waits until Svix has the event, because nothing else stores it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from starlette_webhooks.events import EventQuery
from starlette_webhooks.exceptions import BackendRefused, BackendUnavailable
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.support import make, numbers, running
from tests.eventually import eventually
from tests.servers import serving


@pytest.fixture
def svix_settings(svix_settings: WebhooksSettings) -> WebhooksSettings:
    """The outbox in memory."""
    return svix_settings.model_copy(update={"database": ":memory:"})


async def test_a_submission_ends_once_svix_has_the_events(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        submission = backend.submit([make(tenant, 1), make(tenant, 2)])
        stored = await submission.wait()
        assert submission.finished
        assert not submission.failed
        listed = {event.id: event.data for event in (await backend.list_events(tenant, EventQuery())).items}
        assert listed == {event.id: event.data for event in stored}
        assert await submission.wait() == stored


async def test_an_event_that_svix_has_already_is_not_waited_for(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings) as backend:
        (first,) = await backend.submit([make("a", 1, event_id="order-1")]).wait()
        fake.go_down()
        submission = backend.submit([make("a", 2, event_id="order-1")])
        assert await submission.wait() == [first]
        assert submission.finished


async def test_two_submissions_of_one_event_id_get_the_same_event(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.fail("/msg$", method="POST", times=1, status=None, delay=0.1)
    async with running(svix_settings) as backend:
        submissions = [backend.submit([make("a", number, event_id="order-1")]) for number in range(3)]
        found = [(await submission.wait())[0] for submission in submissions]
        assert numbers(found) == [0, 0, 0]
        assert len({event.id for event in found}) == 1


async def test_while_svix_is_down_a_submission_fails_in_time_and_the_event_is_forwarded_later(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.go_down()
    async with running(svix_settings.model_copy(update={"svix_memory_wait": 0.2})) as backend:
        submission = backend.submit([make("a", 1)])
        started = time.monotonic()
        with pytest.raises(BackendUnavailable, match="within 0.2 s"):
            await submission.wait()
        assert time.monotonic() - started < 2
        assert submission.finished
        assert submission.failed
        fake.heal()
        await backend.settle()
        assert len(fake.messages("a")) == 1


async def test_an_event_refused_permanently_fails_its_submission(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.fail("/msg$", method="POST", status=413, body=b'{"code":"payload_too_large","detail":"too large"}')
    async with running(svix_settings) as backend:
        submission = backend.submit([make("a", 1)])
        with pytest.raises(BackendRefused) as refused:
            await submission.wait()
        assert (refused.value.code, refused.value.detail) == ("payload_too_large", "too large")
        assert submission.failed
        # The dead letter is written after the submission has failed.
        assert len(await eventually(backend.dead_letters)) == 1


async def test_without_waiting_the_outbox_is_drained_at_the_end_and_the_start_warns(
    fake: FakeSvix, svix_settings: WebhooksSettings, caplog: pytest.LogCaptureFixture
) -> None:
    fake.fail("/msg$", method="POST", times=1000, status=None, delay=0.01)
    async with running(svix_settings.model_copy(update={"svix_memory_wait": 0.0})) as backend:
        for number in range(20):
            assert await backend.submit([make("a", number)]).wait()
        assert len(fake.messages("a")) < 20
    assert len(fake.messages("a")) == 20
    assert "are lost when this process ends" in caplog.text


async def test_a_host_answers_once_svix_has_the_event_and_503_if_svix_refuses_it(
    fake: FakeSvix, svix_settings: WebhooksSettings, tmp_path: Path
) -> None:
    assert svix_settings.svix_api_key is not None
    variables: dict[str, Any] = {
        "SVIX_API_KEY": svix_settings.svix_api_key.get_secret_value(),
        "SVIX_SERVER_URL": fake.url,
        "WEBHOOKS_DATABASE": ":memory:",
        "WEBHOOKS_SVIX_MEMORY_WAIT": "1",
    }
    with serving(tmp_path, **variables) as server:
        async with httpx.AsyncClient(base_url=server.url, headers={"x-user": "a"}, timeout=15) as client:
            assert (await client.post("/emit", json={"number": 1})).status_code == 200
            assert len(fake.messages("a")) == 1
            fake.go_down()
            assert (await client.post("/emit", json={"number": 2})).status_code >= 500
            fake.heal()
            await eventually(lambda: len(fake.messages("a")) == 2)


CHILD = """
import sys, anyio
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.support import make, running

async def main(url, token):
    settings = WebhooksSettings(database=":memory:", svix_server_url=url, svix_api_key=token)
    async with running(settings) as backend:
        for number in range(1_000_000):
            await backend.submit([make("a", number)]).wait()
            print(number, flush=True)

anyio.run(main, *sys.argv[1:])
"""


async def test_a_process_killed_at_any_moment_loses_nothing_that_it_answered(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    token = svix_settings.svix_api_key
    assert token is not None
    command = [sys.executable, "-c", CHILD, fake.url, token.get_secret_value()]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as child:  # noqa: ASYNC220
        assert child.stdout is not None
        for _ in range(30):
            await anyio.to_thread.run_sync(child.stdout.readline)
        os.kill(child.pid, signal.SIGKILL)
        answered = 29 + len((await anyio.to_thread.run_sync(child.stdout.read)).splitlines())
    kept = {message.payload["data"]["number"] for message in fake.messages("a")}
    assert kept >= set(range(answered + 1))
