"""Deliveries and redelivery, on every backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.backends.base import Backend
from starlette_webhooks.endpoints import Endpoint, EndpointChanges, EndpointStats
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import Conflict
from tests.backends.contract.support import MakeBackend, attempted, attempts, create, make, running, send
from tests.clock import Clock
from tests.eventually import eventually
from tests.faults import faults
from tests.receivers import Receiver

HOUR = timedelta(hours=1)


def fail(receiver: Receiver) -> str:
    """A URL that answers 500."""
    return f"{receiver.url}/fail"


# Attempts


async def test_an_event_is_attempted_once_at_each_matching_endpoint(
    make_backend: MakeBackend, receiver: Receiver
) -> None:
    async with running(make_backend) as backend:
        every = await create(backend, url=receiver.url)
        some = await create(backend, url=receiver.url, channels=("eu",))
        other = await create(backend, url=receiver.url, channels=("us",))
        disabled = await create(backend, url=receiver.url, disabled=True)
        event = await send(backend, channels=["eu"])
        found = await attempted(backend, 2, event_id=event.id)
        assert {attempt.endpoint_id for attempt in found} == {every.id, some.id}
        for endpoint in (other, disabled):
            assert await attempts(backend, endpoint_id=endpoint.id) == []


async def test_an_attempt_shows_what_happened(make_backend: MakeBackend, receiver: Receiver) -> None:
    async with running(make_backend) as backend:
        good = await create(backend, url=receiver.url)
        bad = await create(backend, url=fail(receiver))
        event = await send(backend)
        found = {attempt.endpoint_id: attempt for attempt in await attempted(backend, 2, event_id=event.id)}
        success, failure = found[good.id], found[bad.id]
        assert (success.event_id, success.event_type, success.url) == (event.id, "invoice.paid", receiver.url)
        assert (success.status, success.status_code, success.number, success.trigger) == (
            "success",
            200,
            1,
            "scheduled",
        )
        assert (failure.status, failure.status_code, failure.error) == ("fail", 500, "")
        assert abs(success.timestamp - datetime.now(UTC)) < timedelta(minutes=1)


async def test_attempts_are_listed_by_event_endpoint_status_and_type_in_pages(
    make_backend: MakeBackend, receiver: Receiver
) -> None:
    async with running(make_backend) as backend:
        good = await create(backend, url=receiver.url)
        bad = await create(backend, url=fail(receiver))
        paid = await send(backend)
        created = await send(backend, event_type="user.created")
        await attempted(backend, 2, endpoint_id=good.id)
        await attempted(backend, 2, endpoint_id=bad.id)

        async def found(**query: Any) -> set[tuple[str, str]]:
            return {(one.event_id, one.endpoint_id) for one in await attempts(backend, **query)}

        assert await found(event_id=paid.id) == {(paid.id, good.id), (paid.id, bad.id)}
        assert await found(event_id=paid.id, endpoint_id=good.id) == {(paid.id, good.id)}
        assert await found(event_id=paid.id, status="fail") == {(paid.id, bad.id)}
        assert await found(endpoint_id=good.id, status="success") == {(paid.id, good.id), (created.id, good.id)}
        assert await found(endpoint_id=good.id, status="fail") == set()
        assert await found(endpoint_id=bad.id, status_code_class=5) == {(paid.id, bad.id), (created.id, bad.id)}
        assert await found(endpoint_id=bad.id, status_code_class=2) == set()
        assert await found(endpoint_id=good.id, event_types=("user.created",)) == {(created.id, good.id)}
        first = await backend.list_attempts("acme", AttemptQuery(endpoint_id=good.id, limit=1))
        assert not first.done
        rest = await backend.list_attempts("acme", AttemptQuery(endpoint_id=good.id, cursor=first.next_cursor))
        assert (rest.done, rest.next_cursor) == (True, None)
        newest_first = [one.id for one in (*first.items, *rest.items)]
        assert newest_first == sorted(newest_first, reverse=True)
        assert len(newest_first) == 2


async def test_no_tenant_sees_anothers_attempts(make_backend: MakeBackend, receiver: Receiver) -> None:
    async with running(make_backend) as backend:
        endpoint = await create(backend, url=receiver.url)
        event = await send(backend)
        await send(backend, "globex")
        await attempted(backend, 1, event_id=event.id)
        assert await attempts(backend, "globex", event_id=event.id) == []
        assert await attempts(backend, "globex", endpoint_id=endpoint.id) == []


async def test_an_endpoint_has_statistics(make_backend: MakeBackend, receiver: Receiver) -> None:
    async with running(make_backend) as backend:
        endpoint = await create(backend, url=receiver.url)
        for _ in range(3):
            await send(backend)
        now = datetime.now(UTC)

        async def counted() -> EndpointStats | None:
            stats = await backend.endpoint_stats("acme", endpoint.id, now - HOUR, now + HOUR)
            assert stats is not None
            return stats if stats.success == 3 else None

        stats = await eventually(counted)
        assert (stats.fail, stats.pending) == (0, 0)
        assert stats.since < stats.until


# Delivering again


async def test_an_event_is_resent_ignoring_the_filters_of_the_endpoint(
    make_backend: MakeBackend, receiver: Receiver
) -> None:
    async with running(make_backend) as backend:
        endpoint = await create(backend, url=receiver.url, channels=("eu",))
        event = await send(backend)
        assert await backend.resend("acme", event.id, endpoint.id)
        (first,) = await attempted(backend, 1, event_id=event.id)
        assert (first.endpoint_id, first.status, first.trigger) == (endpoint.id, "success", "manual")
        assert await backend.resend("acme", event.id, endpoint.id)
        assert [one.number for one in await attempted(backend, 2, event_id=event.id)] == [2, 1]


async def test_what_failed_is_recovered_and_what_arrived_is_not(make_backend: MakeBackend, receiver: Receiver) -> None:
    async with running(make_backend) as backend:
        endpoint = await create(backend, url=receiver.url)
        arrived = await send(backend)
        await attempted(backend, 1, event_id=arrived.id)
        await backend.update_endpoint("acme", endpoint.id, EndpointChanges(url=fail(receiver)))
        failed = await send(backend)
        await attempted(backend, 1, event_id=failed.id)
        await backend.update_endpoint("acme", endpoint.id, EndpointChanges(url=receiver.url))
        assert await backend.recover("acme", endpoint.id, datetime.now(UTC) - HOUR, None, missing=False) == 1
        latest, *_ = await attempted(backend, 1, event_id=failed.id, status="success")
        assert latest.endpoint_id == endpoint.id
        assert len(await attempts(backend, event_id=arrived.id)) == 1


async def test_what_was_never_attempted_is_recovered_on_request(
    make_backend: MakeBackend, receiver: Receiver, clock: Clock
) -> None:
    async with running(make_backend) as backend:
        before = [await send(backend), await send(backend, channels=["us"])]
        other = await send(backend, channels=["eu"])
        endpoint = await create(backend, url=receiver.url, channels=("us",))
        # A recent message may not have been attempted yet.
        clock.advance(ms=120_000)
        since = datetime.now(UTC) - HOUR
        assert await backend.recover("acme", endpoint.id, since, None, missing=False) == 0
        assert await backend.recover("acme", endpoint.id, since, None, missing=True) == 1
        (attempt,) = await attempted(backend, 1, endpoint_id=endpoint.id)
        assert attempt.event_id == before[1].id
        for event in (before[0], other):
            assert await attempts(backend, event_id=event.id) == []


async def test_a_test_event_reaches_the_one_endpoint_ignoring_its_filters(
    make_backend: MakeBackend, receiver: Receiver
) -> None:
    async with running(make_backend) as backend:
        other = await create(backend, url=receiver.url)
        endpoint = await create(backend, url=receiver.url, channels=("eu",))
        tested = await backend.test_endpoint("acme", endpoint.id, make(backend, event_type="test.ping"))
        assert tested is not None
        assert tested.type == "test.ping"
        (attempt,) = await attempted(backend, 1, event_id=tested.id)
        assert (attempt.endpoint_id, attempt.status) == (endpoint.id, "success")
        assert await attempts(backend, endpoint_id=other.id) == []
        assert await backend.get_event("acme", tested.id) is not None


@pytest.mark.parametrize("event_type", ["test.ping", "invoice.paid"])
async def test_a_test_event_is_marked_and_never_recovered_for_another_endpoint(
    make_backend: MakeBackend, receiver: Receiver, clock: Clock, event_type: str
) -> None:
    async with running(make_backend) as backend:
        tested = await create(backend, url=receiver.url)
        event = await backend.test_endpoint("acme", tested.id, make(backend, event_type=event_type, test=True))
        assert event is not None
        await attempted(backend, 1, event_id=event.id)
        listed = await backend.get_event("acme", event.id)
        assert listed is not None
        assert (event.test, listed.test) == (True, True)
        real = await send(backend)
        other = await create(backend, url=receiver.url)
        # A recent message may not have been attempted yet.
        clock.advance(ms=120_000)
        assert await backend.recover("acme", other.id, datetime.now(UTC) - HOUR, None, missing=True) == 1
        (attempt,) = await attempted(backend, 1, endpoint_id=other.id)
        assert attempt.event_id == real.id


AGAIN: dict[str, Callable[[Event, Endpoint, Backend], Awaitable[object]]] = {
    "resend": lambda event, endpoint, backend: backend.resend("acme", event.id, endpoint.id),
    "recover": lambda event, endpoint, backend: backend.recover(
        "acme", endpoint.id, event.timestamp - HOUR, None, missing=True
    ),
    "test": lambda event, endpoint, backend: backend.test_endpoint(
        "acme", endpoint.id, make(backend, event_type="test.ping")
    ),
}


async def test_nothing_is_delivered_again_to_a_disabled_endpoint(make_backend: MakeBackend, receiver: Receiver) -> None:
    async with running(make_backend) as backend:
        endpoint = await create(backend, url=receiver.url, disabled=True)
        event = await send(backend)
        calls = {name: partial(call, event, endpoint) for name, call in AGAIN.items()}
        conflicts = await faults(calls, backend)
        assert {name: type(fault) for name, fault in conflicts.items()} == dict.fromkeys(AGAIN, Conflict)
        codes = {name: fault.code for name, fault in conflicts.items() if isinstance(fault, Conflict)}
        assert codes == dict.fromkeys(AGAIN, "endpoint_disabled")
        assert {name: str(fault) for name, fault in conflicts.items() if "Enable it first" not in str(fault)} == {}
        assert await attempts(backend, endpoint_id=endpoint.id) == []
