"""What an operator sees with Svix: the console, and how far the relay is behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from starlette_webhooks.backends.svix import SvixBackend
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.console.desk import SAME_ORIGIN, Desk, Page, at_console
from tests.console.test_pages import until
from tests.eventually import eventually
from tests.hosts import make_webhooks
from tests.receivers import receiving
from tests.test_telemetry import Recorded


@pytest.fixture
async def desk(fake: FakeSvix, svix_settings: WebhooksSettings) -> AsyncIterator[Desk]:
    """An operator at the console of a host on Svix."""
    webhooks = make_webhooks(svix_settings, backend=SvixBackend(svix_settings, relay_poll=0.02))
    with receiving() as receiver:
        async with webhooks.lifespan(), at_console(webhooks) as client:
            yield Desk(webhooks, client, receiver)


async def test_pages_of_what_svix_stores_say_where_to_find_it(desk: Desk) -> None:
    pages = ["tenants", "endpoints", "endpoints/ep_x", "events", "events/msg_x", "undelivered", "undelivered/retry"]
    actions = ["events/msg_x/payload", "endpoints/ep_x/disable", "endpoints/ep_x/enable", "undelivered/retry"]
    found = [await desk.get(path) for path in pages]
    found += [Page(await desk.client.post(path, headers=SAME_ORIGIN)) for path in actions]
    for page in found:
        assert page.status == 501, page.url
        assert "https://dashboard.svix.com" in page.text
        assert "Overview and Dead letters work here." in page.text
    assert (await desk.get("retries/none")).status == 404


async def test_an_outage_of_svix_shows_on_the_overview(desk: Desk, fake: FakeSvix) -> None:
    page = await until(desk, "", lambda page: "Relay Runs in this process" in page.text and "has not" not in page.text)
    assert "On Svix." in page.text
    assert fake.url in page.text
    fake.go_down()
    await desk.webhooks.emitter("acme").emit("invoice.paid", {})
    await until(desk, "", lambda page: "Outbox 1 waiting" in page.text and "cannot be reached" in page.text)


async def test_an_event_that_svix_refused_is_redriven(desk: Desk, fake: FakeSvix) -> None:
    fake.fail("/msg$", method="POST", status=413, body=b'{"code":"payload_too_large","detail":"Too much."}')
    await desk.webhooks.emitter("acme").emit("invoice.paid", {})
    page = await until(desk, "dead-letters", lambda page: "payload_too_large" in page.text)
    assert "Too much." in page.text
    page = await desk.press(page, "Redrive")
    assert "1 event queued again." in page.text
    await eventually(lambda: len(fake.messages("acme")) == 1)


async def test_an_event_that_svix_refused_is_discarded(desk: Desk, fake: FakeSvix) -> None:
    fake.fail("/msg$", method="POST", status=413, body=b'{"code":"payload_too_large","detail":"Too much."}')
    await desk.webhooks.emitter("acme").emit("invoice.paid", {})
    await until(desk, "dead-letters", lambda page: "payload_too_large" in page.text)
    (letter,) = await desk.webhooks.backend.dead_letters()
    assert await desk.webhooks.backend.discard([letter.id]) == 1
    assert await desk.webhooks.backend.dead_letters() == []


async def test_the_lag_of_the_relay_is_a_metric(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    recorded = Recorded()
    backend = SvixBackend(svix_settings, relay_poll=0.02)
    webhooks = make_webhooks(svix_settings, backend=backend, telemetry=recorded.telemetry)
    fake.go_down()
    async with webhooks.lifespan():
        await webhooks.emitter("acme").emit("invoice.paid", {})

        def behind() -> bool:
            points = recorded.points()
            (waiting,), (age,) = points["webhooks.outbox.waiting"], points["webhooks.outbox.age"]
            return bool(waiting.value == 1 and age.value > 0)

        await eventually(behind)
