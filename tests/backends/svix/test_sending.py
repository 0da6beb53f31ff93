"""`send` returns once Svix has the event, and raises otherwise."""

from __future__ import annotations

import time

import anyio
import pytest

from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import BackendRefused, BackendUnavailable
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.support import canonical, make, numbers, running


async def test_send_returns_the_event_as_svix_lists_it(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        sent = await backend.send([make(tenant, 1, channels=["eu"]), make(tenant, 2)])
        assert numbers(sent) == [1, 2]
        for event in sent:
            found = await backend.get_event(tenant, event.id)
            assert found is not None
            assert canonical(found) == canonical(event)


async def test_sending_the_same_event_id_again_returns_the_first_event(
    svix_settings: WebhooksSettings, tenant: str
) -> None:
    async with running(svix_settings) as backend:
        (first,) = await backend.send([make(tenant, 1, event_id="order-1")])
        assert await backend.send([make(tenant, 2, event_id="order-1")]) == [first]
        assert await backend.submit([make(tenant, 3, event_id="order-1")]).wait() == [first]
    # Another host, whose outbox does not have the event.
    async with running(svix_settings.model_copy(update={"database": ":memory:"})) as backend:
        (again,) = await backend.send([make(tenant, 4, event_id="order-1")])
        assert canonical(again) == canonical(first)
        assert len((await backend.list_events(tenant, EventQuery())).items) == 1


async def test_concurrent_sends_of_one_event_id_get_the_same_event(
    svix_settings: WebhooksSettings, tenant: str
) -> None:
    results: list[Event] = []
    async with running(svix_settings) as backend:

        async def send(number: int) -> None:
            results.extend(await backend.send([make(tenant, number, event_id="order-1")]))

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(send, number)
        assert len({event.id for event in results}) == 1
        assert len((await backend.list_events(tenant, EventQuery())).items) == 1


async def test_what_was_emitted_before_is_forwarded_before(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    fake.fail("/msg$", method="POST", times=20, status=None, delay=0.01)
    async with running(svix_settings) as backend:
        for number in range(10):
            await backend.submit([make("a", number)]).wait()
        await backend.send([make("a", 10)])
        assert [m.payload["data"]["number"] for m in fake.application("a").by_event_id.values()] == list(range(11))


async def test_send_raises_immediately_while_svix_is_down_and_older_events_wait(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.go_down()
    async with running(svix_settings) as backend:
        with pytest.raises(BackendUnavailable, match="cannot be reached"):
            await backend.send([make("a", 1)])
        await backend.submit([make("a", 2)]).wait()
        started = time.monotonic()
        with pytest.raises(BackendUnavailable, match="still wait"):
            await backend.send([make("a", 3)])
        assert time.monotonic() - started < 5


async def test_send_raises_what_svix_says_about_an_event_it_refuses(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings) as backend:
        refusal = b'{"detail":[{"loc":["body","payload"],"msg":"no good","type":"value_error"}]}'
        fake.fail("/msg$", method="POST", status=422, body=refusal)
        with pytest.raises(BackendRefused) as refused:
            await backend.send([make("a", 1, event_id="order-1")])
        assert (refused.value.code, refused.value.detail) == ("validation", "body.payload: no good")
        fake.fail("/msg$", method="POST", status=422, body=refusal)
        await backend.submit([make("a", 1, event_id="order-1")]).wait()
        await backend.settle()
        with pytest.raises(BackendRefused, match="before") as refused:
            await backend.send([make("a", 1, event_id="order-1")])
        assert refused.value.detail == "body.payload: no good"
        (letter,) = await backend.dead_letters()
        assert letter.event is not None
        assert numbers([letter.event]) == [1]


async def test_send_retries_a_few_times(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        fake.fail("/msg$", method="POST", times=2, status=503)
        await backend.send([make("a", 1)])
        fake.fail("/msg$", method="POST", times=1, drop=True, commit=True)
        await backend.send([make("a", 2)])
        assert len(fake.messages("a")) == 2
