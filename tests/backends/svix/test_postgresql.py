"""The outbox in PostgreSQL: a host without a disk loses nothing, and all its machines share one relay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import anyio
import pytest

from starlette_webhooks.events import EventQuery
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import TOKEN, FakeSvix
from tests.backends.svix.support import make, numbers, running
from tests.eventually import eventually
from tests.servers import ROOT


@pytest.fixture
def svix_settings(svix_settings: WebhooksSettings, postgresql_url: str, migrated_schema: str) -> WebhooksSettings:
    """The outbox in PostgreSQL."""
    return svix_settings.model_copy(update={"database": postgresql_url, "database_schema": migrated_schema})


CHILD = """
import sys, anyio
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.support import make, running

async def main(url, token, database, schema):
    settings = WebhooksSettings(
        database=database, database_schema=schema, svix_server_url=url, svix_api_key=token, handle_signals=False
    )
    async with running(settings) as backend:
        for number in range(60):
            await backend.submit([make("a", number)]).wait()
            print(number, flush=True)
        await anyio.sleep_forever()

anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.slow  # Starts a process, and waits for the end of its lease of the relay.
async def test_a_machine_that_is_lost_leaves_its_events_to_another(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.go_down()
    arguments = [fake.url, TOKEN, svix_settings.database, svix_settings.database_schema]
    command = [sys.executable, "-c", CHILD, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:  # noqa: ASYNC220
        assert child.stdout is not None
        for _ in range(30):
            await anyio.to_thread.run_sync(child.stdout.readline)
        os.kill(child.pid, signal.SIGKILL)
        answered = 29 + len((await anyio.to_thread.run_sync(child.stdout.read)).splitlines())
    fake.heal()
    async with running(svix_settings) as backend:
        with anyio.fail_after(10):
            await backend.settle()
        assert backend.health()["relay"]["here"]
    kept = [message.payload["data"]["number"] for message in fake.messages("a")]
    assert kept[: answered + 1] == list(range(answered + 1))


async def test_machines_emit_send_and_read_as_one(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as one, running(svix_settings) as two:
        await one.submit([make("a", 1, event_id="order-1")]).wait()
        # After the events that the other machine emitted before, and once for each key.
        (sent,) = await two.send([make("a", 2)])
        assert [event.id for event in await two.send([make("a", 2, event_id=sent.event_id)])] == [sent.id]
        (again,) = await two.submit([make("a", 3, event_id="order-1")]).wait()
        assert again.data["number"] == 1
        listed = (await one.list_events("a", EventQuery())).items
        assert sorted(numbers(listed)) == [1, 2]
        assert await one.secret_keys() == await two.secret_keys()
        await eventually(lambda: [one.health()["relay"]["here"], two.health()["relay"]["here"]].count(True) == 1)


async def test_an_event_refused_permanently_is_a_dead_letter_for_every_machine(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.fail("/msg$", method="POST", status=413, body=b'{"code":"payload_too_large","detail":"too large"}')
    async with running(svix_settings) as one, running(svix_settings) as two:
        await one.submit([make("a", 1)]).wait()
        await one.settle()
        (letter,) = await two.dead_letters()
        assert (letter.code, letter.detail) == ("payload_too_large", "too large")
        fake.heal()
        assert await two.redrive() == 1
        # The relay may run on the other machine, which looks for old events every half minute.
        await one.redrive()
        await eventually(lambda: len(fake.messages("a")) == 1)
