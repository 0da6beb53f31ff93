"""Operational events and warnings, on every store: stored with the change that they report, and once."""

from __future__ import annotations

from typing import Any

import pytest

from starlette_webhooks.delivery.deliveries import LeasedDelivery
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import Conflict
from starlette_webhooks.stores.base import Store
from tests.clock import Clock
from tests.stores.contract import (
    DAY,
    MINUTE,
    URL,
    MakeStore,
    add,
    attempts,
    claim,
    emit,
    number_of,
    outcome,
    record,
    running,
)

OPERATOR = "operations"


@pytest.fixture
def make_operated(make_store: MakeStore) -> MakeStore:
    """Makes a store that reports to an operator."""

    def make() -> Store:
        store = make_store()
        store.operator = OPERATOR
        return store

    return make


async def told(store: Store, tenant: str = OPERATOR, *types: str) -> list[Event]:
    """The events that were reported to the tenant, oldest commit first."""
    entries = await store.read_committed(tenant, 0, 100)
    return [entry.event for entry in entries if not types or entry.event.type in types]


async def names(store: Store, tenant: str = OPERATOR) -> list[str]:
    return [event.type for event in await told(store, tenant)]


async def fail(store: Store, clock: Clock, times: int = 1, **values: Any) -> LeasedDelivery:
    """Let this many attempts at the one delivery fail, each of which is retried."""
    for _ in range(times):
        clock.advance(ms=MINUTE)
        (delivery,) = (await claim(store)).deliveries
        await record(store, delivery, 500, **{"next_due": store.now(), **values})
    return delivery


async def test_changes_of_endpoints_are_reported(make_operated: MakeStore) -> None:
    async with running(make_operated) as store:
        await add(store, OPERATOR)
        endpoint = await add(store)
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(description="ours"))
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(url=URL + "/2", disabled=True))
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=True))
        await store.delete_endpoint("acme", endpoint.id)
        data = {"tenant": "acme", "endpointId": endpoint.id}
        assert [(event.type, event.data) for event in await told(store)] == [
            ("endpoint.created", data),
            ("endpoint.updated", data),
            ("endpoint.updated", data),
            ("endpoint.disabled", {**data, "reason": "manual"}),
            ("endpoint.updated", data),
            ("endpoint.deleted", data),
        ]
        assert await names(store, "acme") == [], "not the customer"


async def test_calls_that_change_nothing_are_not_reported(make_operated: MakeStore) -> None:
    async with running(make_operated) as store:
        with pytest.raises(Conflict):
            await store.create_endpoint("acme", EndpointChanges(url=URL), limit=0)
        assert await store.update_endpoint("acme", "ep_" + "0" * 27, EndpointChanges(disabled=True)) is None
        assert not await store.delete_endpoint("acme", "ep_" + "0" * 27)
        endpoint = await add(store, OPERATOR)
        await store.update_endpoint(OPERATOR, endpoint.id, EndpointChanges(disabled=True))
        await store.delete_endpoint(OPERATOR, endpoint.id)
        assert await names(store) == [], "nor does the operator's own endpoint"


async def test_erasing_a_tenant_is_not_reported(make_operated: MakeStore) -> None:
    async with running(make_operated) as store:
        await add(store)
        await store.erase("acme")
        assert await names(store) == ["endpoint.created"]


async def test_without_an_operator_nothing_is_reported(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        await add(store)
        await emit(store)
        await fail(store, clock, 5)
        await fail(store, clock, next_due=None)
        assert await names(store) == []


async def test_a_delivery_is_failing_then_exhausted_then_recovered_once_each(
    make_operated: MakeStore, clock: Clock
) -> None:
    async with running(make_operated) as store:
        endpoint = await add(store)
        event = await emit(store)
        await fail(store, clock, 3)
        assert await names(store) == ["endpoint.created"]
        last = await fail(store, clock)
        await fail(store, clock, 2)
        (failing,) = await told(store, OPERATOR, "message.attempt.failing")
        (attempt,) = [one for one in await attempts(store) if one.number == last.number]
        assert failing.data == {
            "tenant": "acme",
            "endpointId": endpoint.id,
            "eventId": event.id,
            "eventType": "invoice.paid",
            "lastAttempt": {
                "id": attempt.id,
                "number": 4,
                "timestamp": attempt.document()["timestamp"],
                "statusCode": 500,
                "error": "",
            },
        }
        await fail(store, clock, next_due=None)
        await store.resend("acme", event.id, endpoint.id)
        (delivery,) = (await claim(store)).deliveries
        await record(store, delivery)
        await store.resend("acme", event.id, endpoint.id)
        (delivery,) = (await claim(store)).deliveries
        await record(store, delivery)
        assert await names(store) == [
            "endpoint.created",
            "message.attempt.failing",
            "message.attempt.exhausted",
            "message.attempt.recovered",
        ]


async def test_a_failing_delivery_recovers_by_its_schedule(make_operated: MakeStore, clock: Clock) -> None:
    async with running(make_operated) as store:
        await add(store)
        await emit(store)
        await fail(store, clock, 4)
        clock.advance(ms=MINUTE)
        (delivery,) = (await claim(store)).deliveries
        await record(store, delivery)
        assert (await names(store))[1:] == ["message.attempt.failing", "message.attempt.recovered"]


async def test_resends_do_not_report_a_failing_delivery_again(make_operated: MakeStore, clock: Clock) -> None:
    async with running(make_operated) as store:
        endpoint = await add(store)
        event = await emit(store)
        await fail(store, clock, 4)
        for _ in range(2):
            # Each of them sets the step back.
            await store.resend("acme", event.id, endpoint.id)
            await store.resend("acme", event.id, endpoint.id)
            await fail(store, clock, 3)
        assert (await names(store))[1:] == ["message.attempt.failing"]


async def test_tests_and_the_operators_own_endpoints_are_not_reported(make_operated: MakeStore, clock: Clock) -> None:
    async with running(make_operated) as store:
        await add(store, OPERATOR)
        await emit(store, OPERATOR)
        await fail(store, clock, 5)
        await fail(store, clock, disable_after=1)
        endpoint = await add(store)
        await emit(store, test=True)
        (delivery,) = (await claim(store, await number_of(store, endpoint))).deliveries
        await record(store, delivery, 500)
        assert await names(store) == ["invoice.paid", "endpoint.created"]


async def test_an_attempt_that_lost_its_lease_is_not_reported(make_operated: MakeStore, clock: Clock) -> None:
    async with running(make_operated) as store:
        number = await number_of(store, await add(store))
        await emit(store)
        (late,) = (await claim(store)).deliveries
        clock.advance(ms=MINUTE)
        (holder,) = (await claim(store, number)).deliveries
        await record(store, late, 500)
        assert await names(store) == ["endpoint.created"]
        await record(store, holder, 500)
        assert await names(store) == ["endpoint.created", "message.attempt.exhausted"]


async def test_an_outcome_that_is_recorded_twice_is_reported_once(make_operated: MakeStore) -> None:
    async with running(make_operated) as store:
        await add(store)
        await emit(store)
        (delivery,) = (await claim(store)).deliveries
        same = outcome(store, delivery, 500)
        await store.record(same, disable_after=0)
        await store.record(same, disable_after=0)
        assert await names(store) == ["endpoint.created", "message.attempt.exhausted"]


async def test_the_operators_endpoint_gets_what_is_reported(make_operated: MakeStore) -> None:
    async with running(make_operated) as store:
        own = await add(store, OPERATOR, event_types=("endpoint.disabled",))
        endpoint = await add(store)
        await emit(store)
        (delivery,) = (await claim(store)).deliveries
        await record(store, delivery, 410)
        (report,) = await told(store, OPERATOR, "endpoint.disabled")
        assert report.data == {"tenant": "acme", "endpointId": endpoint.id, "reason": "gone"}
        claimed = (await claim(store, await number_of(store, own))).deliveries
        assert [one.event_id for one in claimed] == [report.id]
        (notice,) = await told(store, "acme", "endpoint.disabled")
        assert notice.data == {"endpointId": endpoint.id, "url": URL, "reason": "gone"}, "the customer's own"


@pytest.mark.parametrize("operator", [None, OPERATOR])
async def test_a_customer_is_warned_once_a_day_before_an_endpoint_is_disabled(
    make_store: MakeStore, clock: Clock, operator: str | None
) -> None:
    async with running(make_store) as store:
        store.operator = operator
        endpoint = await add(store, event_types=("a.b",))

        async def attempt(hours: int, status: int = 500) -> list[str]:
            clock.advance(ms=hours * 60 * MINUTE)
            await emit(store, type="a.b")
            (delivery,) = (await claim(store)).deliveries
            await record(store, delivery, status, disable_after=5 * DAY)
            return [name for name in await names(store, "acme") if name != "a.b"]

        assert await attempt(0) == []
        since = store.now()
        assert await attempt(95) == []
        assert await attempt(2) == ["endpoint.failing"]
        assert await attempt(1) == ["endpoint.failing"], "only once"
        (warning,) = await told(store, "acme", "endpoint.failing")
        assert (warning.data["endpointId"], warning.data["url"]) == (endpoint.id, URL)
        assert warning.data["failingSince"][:19] <= warning.data["disabledAt"][:19]
        assert await attempt(1, 200) == ["endpoint.failing"]
        assert await attempt(1) == ["endpoint.failing"], "the time starts again"
        assert await attempt(97) == ["endpoint.failing"] * 2
        assert await attempt(24) == [*["endpoint.failing"] * 2, "endpoint.disabled"]
        assert store.now() > since


async def test_a_short_time_until_disabling_warns_after_half_of_it(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        await add(store, event_types=("invoice.paid",))
        await emit(store)
        await fail(store, clock, disable_after=10 * MINUTE)
        await fail(store, clock, 4, disable_after=10 * MINUTE)
        assert "endpoint.failing" not in await names(store, "acme")
        await fail(store, clock, 2, disable_after=10 * MINUTE)
        assert (await names(store, "acme")).count("endpoint.failing") == 1


async def test_values_are_swapped_only_if_nobody_changed_them(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        assert not await store.swap_meta("a", b"1", b"2")
        await store.write_meta("a", b"1")
        assert await store.swap_meta("a", b"1", b"2")
        assert not await store.swap_meta("a", b"1", b"3")
        assert await store.find_meta(["a"]) == {"a": b"2"}


async def test_committed_events_are_read_by_position_and_tenant(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        made = [await emit(store) for _ in range(3)]
        await emit(store, "globex")
        first = await store.read_committed("acme", 0, 2)
        assert [entry.event.id for entry in first] == [event.id for event in made[:2]]
        rest = await store.read_committed("acme", first[-1].position, 2)
        assert [entry.event.id for entry in rest] == [made[2].id]
        page = await store.list_events("acme", EventQuery())
        assert len(page.items) == 3
