"""The SQLite backend as a whole: what its parts do together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import QueueFull
from starlette_webhooks.payloads import new_event
from starlette_webhooks.settings import WebhooksSettings
from tests.eventually import eventually
from tests.receivers import Receiver, receiving

TYPES = EventTypes(["a.b"])


async def add(backend: SQLiteBackend, receiver: Receiver) -> Endpoint:
    return await backend.create_endpoint("acme", EndpointChanges(url=receiver.url))


async def settle(backend: SQLiteBackend) -> None:
    """Return once the dispatcher has attempted all that is due, as it does before it attempts something new."""
    await backend.create_endpoint("settling", EndpointChanges(url="http://127.0.0.1:9/"))
    await backend.send([new_event("a.b", {}, tenant="settling")])

    async def attempted() -> bool:
        return bool((await backend.list_attempts("settling", AttemptQuery())).items)

    await eventually(attempted)
    await eventually(lambda: not backend.busy)


async def test_an_endpoint_that_answers_410_is_disabled_and_its_tenant_notified(settings: WebhooksSettings) -> None:
    backend = SQLiteBackend(settings)
    with receiving() as gone, receiving() as works:
        gone.status = 410
        async with backend.lifespan(TYPES):
            endpoint = await add(backend, gone)
            await add(backend, works)
            await backend.send([new_event("a.b", {}, tenant="acme")])

            async def listed() -> Sequence[Event]:
                return (await backend.list_events("acme", EventQuery(event_types=("endpoint.disabled",)))).items

            (event,) = await eventually(listed)
            assert event.data == {"endpointId": endpoint.id, "url": gone.url, "reason": "gone"}
            stored = await backend.get_endpoint("acme", endpoint.id)
            assert stored is not None
            assert (stored.disabled, stored.disabled_reason) == (True, "gone")
            await eventually(lambda: event.id in works.ids())
        assert len(gone.requests) == 1


async def test_an_event_is_delivered_without_a_look_at_all_endpoints(settings: WebhooksSettings) -> None:
    backend = SQLiteBackend(settings, scan_every=60.0)
    with receiving() as receiver:
        async with backend.lifespan(TYPES):
            endpoint = await add(backend, receiver)
            # Once this is over, the first look at all endpoints is, too.
            await settle(backend)
            ordinary = new_event("a.b", {}, tenant="acme")
            named = new_event("a.b", {}, tenant="acme", event_id="one")
            in_channel = new_event("a.b", {}, tenant="acme", channels=["eu"])
            test = new_event("webhooks.ping", {}, tenant="acme")
            for event in (ordinary, named, in_channel):
                await backend.send([event])
            await backend.test_endpoint("acme", endpoint.id, test)
            await eventually(lambda: len(receiver.requests) >= 4)
    assert {*receiver.ids()} == {event.id for event in (ordinary, named, in_channel, test)}


@pytest.mark.parametrize("action", ["test", "resend", "recover", "update"])
async def test_tests_and_resends_are_tried_immediately_even_if_the_endpoint_fails(
    settings: WebhooksSettings, action: str
) -> None:
    settings = settings.model_copy(update={"retry_schedule": [0.0]})
    backend = SQLiteBackend(settings)
    now, elapsed = time.time() + 60, 0.0
    backend.set_clock(lambda: now, lambda: elapsed)
    with receiving() as receiver:
        receiver.status = 500
        async with backend.lifespan(TYPES):
            endpoint = await add(backend, receiver)
            events = [new_event("a.b", {}, tenant="acme") for _ in range(3)]
            for event in events:
                await backend.send([event])
            await eventually(lambda: len(receiver.requests) >= 2)
            elapsed = 0.05
            backend.wake()
            await settle(backend)
            assert len(receiver.requests) == 2, "the pause after two failures takes 80 ms or more"
            receiver.status = 200
            match action:
                case "test":
                    await backend.test_endpoint("acme", endpoint.id, new_event("webhooks.ping", {}, tenant="acme"))
                case "resend":
                    await backend.resend("acme", events[0].id, endpoint.id)
                case "recover":
                    since = datetime.fromtimestamp(now - 600, UTC)
                    await backend.recover("acme", endpoint.id, since, None, missing=False)
                case _:
                    await backend.update_endpoint("acme", endpoint.id, EndpointChanges(url=f"{receiver.url}/new"))
            await eventually(lambda: any(event.id == received for event in events[2:] for received in receiver.ids()))


async def test_a_delivery_is_signed_with_the_secret_that_the_customer_reads(settings: WebhooksSettings) -> None:
    backend = SQLiteBackend(settings)
    with receiving() as receiver:
        async with backend.lifespan(TYPES):
            endpoint = await add(backend, receiver)
            secret = await backend.get_secret("acme", endpoint.id)
            await backend.rotate_secret("acme", endpoint.id, None)
            second = await backend.get_secret("acme", endpoint.id)
            (event,) = await backend.send([new_event("a.b", {"n": 1}, tenant="acme")])
            await eventually(lambda: receiver.requests)
        (request,) = receiver.requests
        assert request.body == event.payload
        assert secret is not None
        assert second is not None
        for key in (secret, second):
            assert Webhook(key).verify(request.body, request.headers)["data"] == {"n": 1}


async def test_deleting_an_endpoint_ends_what_waits_for_it(settings: WebhooksSettings) -> None:
    backend = SQLiteBackend(settings)
    with receiving() as receiver:
        receiver.status = 500
        async with backend.lifespan(TYPES):
            endpoint = await add(backend, receiver)
            await backend.send([new_event("a.b", {}, tenant="acme")])
            await eventually(lambda: receiver.requests)
            assert await backend.delete_endpoint("acme", endpoint.id)
            await eventually(lambda: not backend.busy)
            left = await backend.store.database.read(
                lambda c: c.execute(
                    "SELECT (SELECT count(*) FROM delivery) + (SELECT count(*) FROM attempt)"
                ).fetchone()
            )
            assert left == (0,)


async def test_deliveries_are_recorded_while_events_fill_the_queue(settings: WebhooksSettings) -> None:
    backend = SQLiteBackend(settings.model_copy(update={"queue_events": 1}))
    async with backend.lifespan(TYPES):
        first = backend.submit([new_event("a.b", {}, tenant="acme")])
        with pytest.raises(QueueFull):
            backend.submit([new_event("a.b", {}, tenant="acme")])
        assert await backend.store.database.write(lambda connection: "taken") == "taken"
        await first.wait()
