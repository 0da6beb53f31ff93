"""What every store does with deliveries: leases, records, redelivery, and attempts."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.delivery.claims import ClaimRequest
from starlette_webhooks.delivery.deliveries import Claim, LeasedDelivery
from starlette_webhooks.delivery.pacing import UNPROVEN
from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import Conflict, InvalidRequest
from starlette_webhooks.stores.base import Store
from starlette_webhooks.stores.moments import from_ms
from tests.clock import Clock
from tests.eventually import eventually
from tests.stores.contract import (
    CAPACITY,
    DAY,
    LEASE,
    MINUTE,
    URL,
    Listening,
    MakeStore,
    add,
    attempt,
    attempts,
    claim,
    count_missing,
    due,
    emit,
    event,
    ids,
    moment,
    number_of,
    record,
    recover,
    running,
    urgent,
)

# Queueing


MATCHED: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {
    ((), ()): ["a.b", "a.b+eu", "a.b+eu+us", "c.d"],
    (("a.b",), ()): ["a.b", "a.b+eu", "a.b+eu+us"],
    ((), ("eu",)): ["a.b+eu", "a.b+eu+us"],
    (("c.d",), ("eu",)): [],
    (("a.b", "c.d"), ("us", "eu")): ["a.b+eu", "a.b+eu+us"],
}
"""The events that match the event types and channels of an endpoint."""


async def test_an_event_is_queued_once_for_each_matching_endpoint(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoints = {}
        for event_types, channels in MATCHED:
            made = await add(store, event_types=event_types, channels=channels)
            endpoints[made.id] = (event_types, channels)
        names = {}
        for name in ("a.b", "c.d", "a.b+eu", "a.b+eu+us"):
            type, *labels = name.split("+")
            names[(await emit(store, type=type, channels=labels)).id] = name
        await emit(store, "globex", type="a.b", channels=["eu"])
        found: dict[Any, list[str]] = {filters: [] for filters in MATCHED}
        for one in (await claim(store)).deliveries:
            found[endpoints[one.endpoint_id]].append(names[one.event_id])
        assert {filters: sorted(events) for filters, events in found.items()} == MATCHED


async def test_an_event_for_one_endpoint_ignores_filters_and_goes_to_no_other(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        chosen = await add(store, event_types=("other.type",), channels=("vip",))
        await add(store)
        sent = await store.insert_for(event(test=True), "acme", chosen.id)
        (delivery,) = (await claim(store)).deliveries
        assert (delivery.event_id, delivery.endpoint_id, delivery.trigger) == (sent.id, chosen.id, "test")


async def test_deliveries_are_due_later_where_the_schedule_says_so(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        await add(store)
        await store.submit([event()], due_in=MINUTE).wait()
        assert await due(store) == {}
        clock.advance(ms=MINUTE)
        assert len((await claim(store)).deliveries) == 1


async def test_a_commit_names_the_endpoints_with_new_deliveries(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        one, two = [await add(store, event_types=(type,)) for type in ("a.b", "c.d")]
        numbers = [await number_of(store, endpoint) for endpoint in (one, two)]
        dispatcher = Listening()
        store.on_deliveries(dispatcher)
        sent = await emit(store, type="a.b")
        assert dispatcher.woken == numbers[:1]
        await store.submit([event(type="a.b"), event(type="c.d", channels=["eu"])]).wait()
        assert set(dispatcher.woken) == set(numbers)
        assert dispatcher.urgent == []
        await store.insert_for(event(test=True), "acme", two.id)
        assert set(dispatcher.urgent) == {numbers[1]}
        await store.resend("acme", sent.id, one.id)
        assert set(dispatcher.urgent) == set(numbers)
        dispatcher.urgent.clear()
        await emit(store, type="a.b", test=True)
        assert numbers[0] in dispatcher.urgent
        dispatcher.woken.clear()
        store.on_deliveries(None)
        await emit(store, type="a.b")
        assert dispatcher.woken == []


# Claiming


async def test_a_claim_carries_everything_that_an_attempt_needs(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store, headers={"X-Größe": "ä"})
        sent = await emit(store, data={"note": "größer \U0001f600"})
        (delivery,) = (await claim(store)).deliveries
        assert (delivery.event_id, delivery.event_type, delivery.payload) == (sent.id, sent.type, sent.payload)
        assert (delivery.tenant, delivery.endpoint_id, delivery.url) == ("acme", endpoint.id, URL)
        assert (delivery.headers, delivery.secrets) == (
            {"X-Größe": "ä"},
            (await store.get_secret("acme", endpoint.id),),
        )
        assert (delivery.number, delivery.step, delivery.trigger) == (1, 0, "scheduled")
        assert abs(delivery.lease - store.now() - LEASE) < 5000


async def test_a_claim_of_many_events_keeps_each_ones_payload_to_the_byte(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await add(store)
        sent = await store.submit([event(data={"x": "Größe \U0001f600\\" * n}) for n in range(70)]).wait()
        deliveries = (await claim(store, each=100)).deliveries
        assert {one.event_id: one.payload for one in deliveries} == {one.id: one.payload for one in sent}
        assert [one.event_id for one in deliveries] == [one.id for one in sent], "oldest first"


async def test_a_leased_delivery_is_claimed_again_only_after_the_lease(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        number = await number_of(store, await add(store))
        await emit(store)
        (first,) = (await claim(store, number)).deliveries
        again = await claim(store, number)
        assert again.deliveries == []
        assert again.waiting == [(first.lease, number)]
        clock.advance(ms=LEASE)
        (second,) = (await claim(store, number)).deliveries
        assert (second.id, second.number) == (first.id, 2)


async def test_slots_are_shared_over_tenants_and_then_over_endpoints(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        for _ in range(20):
            await add(store, "big")
        await add(store, "small")
        for _ in range(10):
            await emit(store, "big")
            await emit(store, "small")
        claimed = await claim(store, capacity=Capacity(free=12, reserve=0, degraded=6))
        assert Counter(one.tenant for one in claimed.deliveries) == {"big": 6, "small": 6}
        assert max(Counter(one.endpoint for one in claimed.deliveries if one.tenant == "big").values()) == 1
        assert (len(claimed.remaining), len(claimed.unserved)) == (7, 14)
        # Tenants with running attempts come after the others.
        claimed = await claim(store, capacity=Capacity(free=4, reserve=0, degraded=2), small=6)
        assert {one.tenant for one in claimed.deliveries} == {"big"}


async def test_an_endpoint_gets_no_more_than_it_asked_for(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        number = await number_of(store, await add(store))
        sent = [(await emit(store)).id for _ in range(5)]
        claimed = await claim(store, each=2)
        assert ([one.event_id for one in claimed.deliveries], claimed.remaining) == (sent[:2], [number])
        claimed = await claim(store, each=4)
        assert ([one.event_id for one in claimed.deliveries], claimed.remaining) == (sent[2:], [])


async def test_endpoints_are_found_in_pages_until_none_is_left(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        numbers = {await number_of(store, await add(store, f"t{n % 7}")) for n in range(30)}
        for n in range(7):
            await emit(store, f"t{n}")
        found = set(await due(store))
        assert found == numbers
        last = max(numbers)
        assert (await store.due(after=last, due_by=store.now() + MINUTE)).after is None
        assert set(await due(store, within=-MINUTE)) == set()


async def test_deliveries_of_a_disabled_endpoint_wait_until_it_is_enabled(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        number = await number_of(store, endpoint)
        await emit(store)
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=True))
        assert await due(store) == {}
        assert (await claim(store, number)).deliveries == []
        missed = await emit(store)
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=False))
        claimed = (await claim(store)).deliveries
        assert len(claimed) == 1
        assert claimed[0].event_id != missed.id, "events emitted meanwhile are not for it"


async def test_an_endpoint_known_to_fail_counts_as_degraded(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        number = await number_of(store, await add(store))
        await emit(store)
        await attempt(store, 500, next_due=store.now())
        full = Capacity(free=10, reserve=0, degraded=0)
        claimed = await claim(store, number, lane=Lane.UNKNOWN, capacity=full)
        assert (claimed.deliveries, claimed.unserved, claimed.failing) == ([], [number], [number])
        page = await store.due(after=0, due_by=store.now())
        assert [one.failing for one in page.endpoints] == [True]


async def test_a_rotation_ends_earlier_secrets_after_the_chosen_time(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        endpoint = await add(store, secret="whsec_first")
        await store.rotate_secret("acme", endpoint.id, "whsec_second", overlap=3600)
        clock.advance(ms=MINUTE)
        await store.rotate_secret("acme", endpoint.id, "whsec_third", overlap=2 * 3600)
        for _ in range(3):
            await emit(store)
        (delivery,) = (await claim(store, each=1)).deliveries
        assert delivery.secrets == ("whsec_third", "whsec_second", "whsec_first")
        clock.advance(ms=3600 * 1000)
        (delivery,) = (await claim(store, each=1)).deliveries
        assert delivery.secrets == ("whsec_third", "whsec_second")
        await store.rotate_secret("acme", endpoint.id, "whsec_fourth", overlap=0)
        (delivery,) = (await claim(store, each=1)).deliveries
        assert delivery.secrets == ("whsec_fourth",)


async def test_the_current_secret_signs_first_and_expired_ones_not_at_all(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        endpoint = await add(store, secret="whsec_first")
        await store.rotate_secret("acme", endpoint.id, "whsec_second")
        clock.advance(ms=MINUTE)
        await store.rotate_secret("acme", endpoint.id, "whsec_third")
        await emit(store)
        await emit(store)
        (delivery,) = (await claim(store, each=1)).deliveries
        assert delivery.secrets == ("whsec_third", "whsec_second", "whsec_first")
        clock.advance(ms=DAY - MINUTE + 1000)
        (delivery,) = (await claim(store, each=1)).deliveries
        assert delivery.secrets == ("whsec_third", "whsec_second")


async def test_a_rate_limit_spaces_claims_whichever_process_makes_them(
    make_shared_store: MakeStore, clock: Clock
) -> None:
    async with running(make_shared_store) as store, running(make_shared_store) as other:
        number = await number_of(store, await add(store, rate_limit=1))
        for _ in range(5):
            await emit(store)
        clock.advance(ms=10_000)
        claimed = await claim(store, number)
        assert len(claimed.deliveries) == 1, "unused attempts are not saved up"
        ((at, waiting),) = claimed.waiting
        assert waiting == number
        assert abs(at - store.now() - 1000) < 500
        held = await claim(other, number)
        assert (held.deliveries, held.waiting) == ([], [(at, number)])
        assert (await due(other, within=2000))[number] == pytest.approx(at, abs=1)
        clock.advance(ms=1000)
        assert len((await claim(other, number)).deliveries) == 1


async def test_a_high_rate_is_claimed_a_tenth_of_a_second_at_a_time(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        number = await number_of(store, await add(store, rate_limit=100))
        await store.submit([event() for _ in range(40)]).wait()
        clock.advance(ms=1000)
        assert len((await claim(store, number, each=50)).deliveries) == 10
        clock.advance(ms=60_000)
        assert len((await claim(store, number, each=50)).deliveries) == 10


async def test_an_endpoint_is_called_slowly_until_its_server_accepts_a_delivery(
    make_shared_store: MakeStore, clock: Clock
) -> None:
    async with running(make_shared_store) as store, running(make_shared_store) as other:
        endpoint = await add(store)
        number = await number_of(store, endpoint)
        await store.submit([event() for _ in range(30)]).wait()
        first = await claim(store, number, each=20, unproven=UNPROVEN)
        assert len(first.deliveries) == 10
        held = await claim(other, number, each=20, unproven=UNPROVEN)
        ((at, _),) = held.waiting
        assert (held.deliveries, round((at - store.now()) / 1000)) == ([], 1)
        assert (await due(other, within=2000))[number] == pytest.approx(at, abs=1)
        assert await store.resend("acme", first.deliveries[0].event_id, endpoint.id)
        (asked,) = (await claim_urgent(store, number)).deliveries
        await record(store, asked, 500)
        clock.advance(ms=1000)
        (second,) = (await claim(store, number, each=20, unproven=UNPROVEN)).deliveries
        assert not second.proven
        await record(store, second)
        rest = (await claim(store, number, each=50, unproven=UNPROVEN)).deliveries
        assert len(rest) == 19
        assert all(one.proven for one in rest)


async def test_a_process_without_that_pace_does_not_wait_for_what_another_one_stored(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        number = await number_of(store, await add(store))
        await store.submit([event() for _ in range(30)]).wait()
        assert len((await claim(store, number, each=30, unproven=UNPROVEN)).deliveries) == 10
        assert (await store.due(after=0, due_by=store.now())).endpoints == []
        found = (await store.due(after=0, due_by=store.now(), unproven=None)).endpoints
        assert [one.endpoint for one in found] == [number]
        assert len((await claim(store, number, each=30)).deliveries) == 20


async def test_another_server_has_to_accept_a_delivery_itself(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store, url="https://example.com/hook")
        number = await number_of(store, endpoint)
        await store.submit([event() for _ in range(40)]).wait()

        async def proven(**changes: Any) -> bool:
            await store.update_endpoint("acme", endpoint.id, EndpointChanges(**changes))
            (delivery,) = (await claim(store, number, each=1)).deliveries
            return delivery.proven

        late, first = (await claim(store, number, each=2)).deliveries
        await record(store, first)
        assert await proven(url="https://example.com/other?path")
        assert not await proven(url="https://victim.example/hook")
        await record(store, late)
        assert not await proven(url="https://victim.example/hook"), "the earlier server has answered late"
        assert await proven(url="https://example.com/hook")


async def test_concurrent_claims_of_processes_have_no_duplicates(make_shared_store: MakeStore) -> None:
    async with running(make_shared_store) as store, running(make_shared_store) as other:
        numbers = [await number_of(store, await add(store, f"t{n}")) for n in range(8)]
        for n in range(8):
            await store.submit([event(f"t{n}") for _ in range(25)]).wait()
        claimed: list[LeasedDelivery] = []

        async def work(one: Store) -> None:
            while deliveries := (await claim(one, *numbers, each=3)).deliveries:
                claimed.extend(deliveries)
                for delivery in deliveries:
                    await record(one, delivery)

        async with anyio.create_task_group() as tasks:
            for one in (store, other, store, other):
                tasks.start_soon(work, one)
        assert len(claimed) == len({one.id for one in claimed}) == 200
        assert await due(store) == {}


# Tests and resends


async def claim_urgent(store: Store, *endpoints: int, each: int = 4) -> Claim:
    requests = [SlotRequest(number, Lane.HEALTHY, each, 0) for number in endpoints]
    now = store.now()
    return await store.claim(
        ClaimRequest(requests=requests, capacity=CAPACITY, tenants={}, now=now, lease=now + LEASE, urgent=True)
    )


async def test_tests_and_resends_are_claimed_before_the_backlog_and_ignore_limits(
    make_store: MakeStore,
) -> None:
    async with running(make_store) as store:
        endpoint = await add(store, rate_limit=1)
        number = await number_of(store, endpoint)
        backlog = await store.submit([event() for _ in range(20)]).wait()
        (throttled,) = (await claim(store)).deliveries
        pause = store.now() + MINUTE
        await record(store, throttled, 429, next_due=store.now() + 5000, pause_until=pause)
        assert (await claim(store, number)).deliveries == []
        assert await urgent(store) == []
        test = await store.insert_for(event(test=True), "acme", endpoint.id)
        assert await urgent(store) == [number]
        assert await store.resend("acme", backlog[10].id, endpoint.id)
        claimed = await claim_urgent(store, number)
        assert {(one.event_id, one.trigger) for one in claimed.deliveries} == {
            (test.id, "test"),
            (backlog[10].id, "manual"),
        }
        assert await urgent(store) == []
        assert (await claim_urgent(store, number)).deliveries == []
        assert (await claim(store, number)).deliveries == [], "the pause applies to the others"


async def test_more_urgent_deliveries_than_slots_are_claimed_one_after_another(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        number = await number_of(store, endpoint)
        for _ in range(3):
            await store.insert_for(event(test=True), "acme", endpoint.id)
        first = await claim_urgent(store, number, each=2)
        assert (len(first.deliveries), first.remaining) == (2, [number])
        for one in first.deliveries:
            await record(store, one, 500, next_due=store.now())
        second = await claim_urgent(store, number, each=2)
        assert len(second.deliveries) == 1, "a failed one continues by its schedule"
        assert len((await claim(store, number)).deliveries) == 2


async def test_an_urgent_delivery_whose_process_was_killed_is_urgent_again_after_the_lease(
    make_store: MakeStore, clock: Clock
) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        number = await number_of(store, endpoint)
        await store.insert_for(event(test=True), "acme", endpoint.id)
        assert len((await claim_urgent(store, number)).deliveries) == 1
        clock.advance(ms=LEASE)
        assert await urgent(store) == [number]
        (again,) = (await claim_urgent(store, number)).deliveries
        assert again.number == 2


async def test_urgent_deliveries_of_a_disabled_endpoint_wait(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        number = await number_of(store, endpoint)
        await store.insert_for(event(test=True), "acme", endpoint.id)
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=True))
        assert await urgent(store) == []
        assert (await claim_urgent(store, number)).deliveries == []


async def test_a_test_event_stays_marked_and_is_urgent_for_every_endpoint(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        numbers = [await number_of(store, await add(store)) for _ in range(2)]
        real, made_up = await emit(store), await emit(store, test=True, channels=["eu"])
        assert (real.test, made_up.test) == (False, True)
        found = await store.get_event("acme", made_up.id)
        assert found == made_up
        assert found is not None
        assert found.test
        assert json.loads(found.payload)["test"] is True
        assert b'"test":true' in found.encode()
        assert b"test" not in real.encode()
        claimed = (await claim_urgent(store, *numbers)).deliveries
        assert [one.event_id for one in claimed] == [made_up.id] * 2


# Releasing and setting aside


async def test_a_released_lease_leaves_no_trace(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        number = await number_of(store, await add(store))
        await emit(store)
        (delivery,) = (await claim(store)).deliveries
        later = store.now() + 5000
        await store.release([delivery], due=later)
        assert await due(store, within=DAY) == {number: later}
        await store.release([delivery], due=store.now())
        assert await due(store, within=DAY) == {number: later}, "it was no longer held"


async def test_a_released_lease_does_not_count_as_an_attempt(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await add(store)
        await emit(store)
        await emit(store)
        deliveries = (await claim(store)).deliveries
        await record(store, deliveries[0])
        await store.release(deliveries, due=store.now())
        (again,) = (await claim(store)).deliveries
        assert (again.id, again.number, again.step) == (deliveries[1].id, 1, 0)
        assert len(await attempts(store)) == 1


async def test_a_delivery_that_is_set_aside_is_attempted_only_if_somebody_resends_it(
    make_store: MakeStore, clock: Clock
) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        number = await number_of(store, endpoint)
        sent = await emit(store)
        (delivery,) = (await claim(store)).deliveries
        await store.set_aside(delivery)
        clock.advance(ms=400 * DAY)
        assert await due(store, within=DAY) == {}
        assert (await claim(store, number)).deliveries == []
        stats = await store.endpoint_stats("acme", endpoint.id, moment(store, -MINUTE), moment(store))
        assert stats is not None
        assert stats.pending == 1, "the operator sees it"
        await store.resend("acme", sent.id, endpoint.id)
        assert len((await claim(store, number)).deliveries) == 1


async def test_setting_a_delivery_aside_leaves_those_of_other_events_and_endpoints(
    make_store: MakeStore, clock: Clock
) -> None:
    async with running(make_store) as store:
        for _ in range(2):
            await add(store)
            await emit(store)
        await emit(store)
        aside, *others = (await claim(store)).deliveries
        await store.set_aside(aside)
        clock.advance(ms=LEASE)
        again = (await claim(store)).deliveries
        assert {(one.event_id, one.endpoint_id) for one in again} == {(one.event_id, one.endpoint_id) for one in others}
        assert len(again) == len(others) == 4


async def test_a_delivery_that_is_set_aside_does_not_keep_its_event_forever(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await add(store)
        await emit(store)
        (delivery,) = (await claim(store)).deliveries
        await store.set_aside(delivery)
        await store.prune(moment(store, MINUTE))
        assert await ids(store) == []


# Clocks that were ahead


async def test_deliveries_stored_while_the_clock_was_ahead_are_moved_back_with_it(
    make_store: MakeStore, clock: Clock
) -> None:
    hour = 60 * MINUTE
    async with running(make_store) as store:
        number = await number_of(store, await add(store))
        for _ in range(3):
            await emit(store)
        clock.advance(ms=hour)
        retried, leased = (await claim(store, each=2)).deliveries
        await record(store, retried, 500, next_due=store.now() + 5000)
        clock.set_by(ms=-hour)
        assert await store.fix_times() == 2
        assert await store.fix_times() == 0
        (untouched,) = (await claim(store, number)).deliveries
        assert untouched.number == 1
        assert (await due(store, within=DAY))[number] == pytest.approx(store.now() + 5000, abs=4000)
        clock.advance(ms=6000)
        (again,) = (await claim(store, number)).deliveries
        assert (again.id, again.number) == (retried.id, 2)
        await record(store, leased)
        clock.advance(ms=LEASE)
        # Scan first, because a lease that has ended may need it.
        assert {one.id for one in (await claim(store)).deliveries} == {again.id, untouched.id}, (
            "the lease of the third outlived the change"
        )


async def test_deliveries_stored_while_the_check_waited_are_not_moved(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        await add(store)
        await emit(store)
        # For the check, it is as early as when it began to wait for a connection.
        clock.set_by(ms=-5000)
        assert await store.fix_times() == 0


async def test_a_retry_that_is_hours_away_is_not_moved(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        number = await number_of(store, await add(store))
        await emit(store)
        later = store.now() + DAY
        await attempt(store, 500, next_due=later)
        assert await store.fix_times() == 0
        assert await due(store, within=2 * DAY) == {number: later}


async def test_a_rate_limit_and_a_pause_from_the_future_delay_nothing(make_store: MakeStore, clock: Clock) -> None:
    hour = 60 * MINUTE
    async with running(make_store) as store:
        limited = await number_of(store, await add(store, rate_limit=10))
        paused = await number_of(store, await add(store))
        for _ in range(3):
            await emit(store)
        clock.advance(ms=hour)
        claimed = (await claim(store, each=1)).deliveries
        assert len(claimed) == 2
        for one in claimed:
            if one.endpoint == paused:
                await record(store, one, 429, next_due=store.now() + 5000, pause_until=store.now() + MINUTE)
        assert (await claim(store, paused)).deliveries == []
        clock.set_by(ms=-hour)
        for number in (limited, paused):
            assert (await due(store))[number] <= store.now()
            assert len((await claim(store, number, each=1)).deliveries) == 1


async def test_an_endpoint_that_failed_while_the_clock_was_ahead_is_disabled_in_time(
    make_store: MakeStore, clock: Clock
) -> None:
    async with running(make_store) as store:
        await add(store, event_types=("a.b",))

        async def fail() -> bool:
            await emit(store, type="a.b")
            (delivery,) = (await claim(store)).deliveries
            return await record(store, delivery, 500, disable_after=10 * MINUTE) is not None

        clock.advance(ms=DAY)
        assert not await fail()
        clock.set_by(ms=-DAY)
        assert not await fail()
        clock.advance(ms=10 * MINUTE)
        assert await fail()


# Recording


async def test_a_success_ends_the_delivery_and_is_logged_and_counted(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        sent = await emit(store)
        await attempt(store, 204, response="done \U0001f600")
        assert await due(store, within=DAY) == {}
        (logged,) = await attempts(store)
        assert (logged.event_id, logged.event_type, logged.endpoint_id, logged.url) == (
            sent.id,
            sent.type,
            endpoint.id,
            URL,
        )
        assert (logged.number, logged.status, logged.status_code, logged.response) == (
            1,
            "success",
            204,
            "done \U0001f600",
        )
        assert (logged.trigger, logged.next_attempt_at, logged.error) == ("scheduled", None, "")
        stats = await store.endpoint_stats("acme", endpoint.id, moment(store, -MINUTE), moment(store, MINUTE))
        assert stats is not None
        assert (stats.success, stats.fail, stats.pending) == (1, 0, 0)


async def test_many_concurrent_records_are_all_stored(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        works, fails = await add(store), await add(store)
        failing = await number_of(store, fails)
        odd = {one.id for one in (await store.submit([event() for _ in range(150)]).wait())[::2]}
        deliveries = (await claim(store, each=150, capacity=Capacity(300, 0, 300))).deliveries
        assert len(deliveries) == 300
        async with anyio.create_task_group() as tasks:
            for one in deliveries:
                status = 500 if one.endpoint == failing and one.event_id in odd else 200
                tasks.start_soon(record, store, one, status)
        for endpoint, expected in ((works, (150, 0)), (fails, (75, 75))):
            stats = await store.endpoint_stats("acme", endpoint.id, moment(store, -MINUTE), moment(store, MINUTE))
            assert stats is not None
            assert (stats.success, stats.fail) == expected
            assert len(await attempts(store, endpoint_id=endpoint.id)) == 150
        assert await due(store, within=DAY) == {}


async def test_a_failure_reschedules_the_delivery_until_the_schedule_is_exhausted(
    make_store: MakeStore, clock: Clock
) -> None:
    async with running(make_store) as store:
        number = await number_of(store, await add(store))
        await emit(store)
        later = store.now() + MINUTE
        await attempt(store, 500, next_due=later)
        assert await due(store, within=DAY) == {number: later}
        clock.advance(ms=MINUTE)
        second = await attempt(store, 0, error="timeout")
        assert (second.number, second.step) == (2, 1)
        assert await due(store, within=DAY) == {}
        last, first = await attempts(store)
        assert (first.status, first.status_code, first.next_attempt_at) == (
            "fail",
            500,
            from_ms(later),
        )
        assert (last.status, last.status_code, last.error, last.next_attempt_at) == ("fail", 0, "timeout", None)


@pytest.mark.parametrize("status", [200, 500])
async def test_the_headers_of_an_attempt_are_kept(make_store: MakeStore, status: int) -> None:
    async with running(make_store) as store:
        await add(store)
        for headers in ('{"request":[],"response":[["x-é","1"]]}', ""):
            await emit(store)
            await attempt(store, status, headers=headers, response="said")
            assert (await attempts(store))[0].headers == headers
            # The last one of a page.
            page = await store.list_attempts("acme", AttemptQuery(limit=1))
            assert [(one.headers, one.response) for one in page.items] == [(headers, "said")]


async def test_attempts_with_and_without_headers_are_recorded_together(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await add(store)
        for _ in range(4):
            await emit(store)
        leased = (await claim(store)).deliveries
        kept = ["", "{}", "", "{}"]
        async with anyio.create_task_group() as tasks:
            for delivery, headers in zip(leased, kept, strict=True):
                tasks.start_soon(partial(record, store, delivery, headers=headers))
        found = {one.event_id: one.headers for one in await attempts(store)}
        assert [found[one.event_id] for one in leased] == kept
        assert await due(store) == {}


@pytest.mark.parametrize("late_one_succeeds", [True, False])
async def test_a_process_that_lost_the_lease_leaves_the_delivery_to_its_holder(
    make_store: MakeStore, clock: Clock, late_one_succeeds: bool
) -> None:
    async with running(make_store) as store:
        number = await number_of(store, await add(store))
        await emit(store)
        (late,) = (await claim(store)).deliveries
        clock.advance(ms=LEASE)
        (holder,) = (await claim(store, number)).deliveries
        if late_one_succeeds:
            await record(store, late)
        else:
            await record(store, late, 500, next_due=store.now())
        assert (await claim(store, number)).waiting == [(holder.lease, number)]
        later = store.now() + MINUTE
        await record(store, holder, 500, next_due=later)
        assert await due(store, within=DAY) == {number: later}
        last, first = sorted(await attempts(store), key=lambda one: -one.number)
        assert first.next_attempt_at is None, "it decided nothing"
        assert last.next_attempt_at is not None


async def test_a_receiver_that_asks_for_a_pause_gets_one(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        number = await number_of(store, await add(store))
        await emit(store)
        await emit(store)
        (first, second) = (await claim(store)).deliveries
        until = store.now() + MINUTE
        await record(store, first, 429, next_due=store.now() + 5000, pause_until=until)
        await record(store, second, 200)
        await emit(store)
        claimed = await claim(store, number)
        assert (claimed.deliveries, claimed.waiting) == ([], [(until, number)])
        assert await due(store, within=DAY) == {number: until}
        clock.advance(ms=MINUTE)
        assert len((await claim(store, number)).deliveries) == 2


async def test_gone_disables_immediately_keeps_pending_deliveries_and_notifies_the_tenant(
    make_store: MakeStore,
) -> None:
    async with running(make_store) as store:
        endpoint, works = await add(store), await add(store)
        await emit(store)
        await emit(store)
        number = await number_of(store, endpoint)
        first, second = [one for one in (await claim(store)).deliveries if one.endpoint == number]
        disabled = await record(store, first, 410, next_due=store.now())
        assert disabled is not None
        assert (disabled.id, disabled.tenant, disabled.url, disabled.reason) == (endpoint.id, "acme", URL, "gone")
        assert await record(store, second, 410, next_due=store.now()) is None, "only once"
        found = await store.get_endpoint("acme", endpoint.id)
        assert found is not None
        assert (found.disabled, found.disabled_reason) == (True, "gone")
        told = await told_of(store, "endpoint.disabled")
        assert told.data == {"endpointId": endpoint.id, "url": URL, "reason": "gone"}
        assert [one.event_id for one in (await claim(store)).deliveries] == [told.id], "the other endpoint gets it"
        assert [one.next_attempt_at for one in await attempts(store, event_id=first.event_id, status="fail")] == [None]
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=False))
        assert len((await claim(store, number)).deliveries) == 2
        assert works.disabled is False


async def told_of(store: Store, type: str) -> Event:
    """The tenant's only event of that type."""
    (found,) = (await store.list_events("acme", EventQuery(event_types=(type,)))).items
    return found


async def test_only_unbroken_failure_disables(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        endpoint = await add(store, event_types=("a.b",))

        async def fail(minutes: int, status: int = 500) -> bool:
            clock.advance(ms=minutes * MINUTE)
            await emit(store, type="a.b")
            (delivery,) = (await claim(store)).deliveries
            return await record(store, delivery, status, disable_after=10 * MINUTE) is not None

        assert not await fail(0)
        assert not await fail(9)
        assert not await fail(0, 200)
        assert not await fail(2)
        assert not await fail(9)
        assert await fail(1)
        found = await store.get_endpoint("acme", endpoint.id)
        assert found is not None
        assert found.disabled_reason == "failing"
        # After it is enabled again, the whole time starts again.
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=False))
        assert not await fail(8)


async def test_an_outcome_for_a_deleted_endpoint_is_dropped(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        await emit(store)
        (delivery,) = (await claim(store)).deliveries
        await store.delete_endpoint("acme", endpoint.id)
        assert await record(store, delivery, 410, next_due=store.now(), disable_after=1) is None
        assert await attempts(store) == []
        assert await due(store, within=DAY) == {}


async def test_an_attempt_at_an_event_that_is_gone_is_not_logged(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        await emit(store)
        (delivery,) = (await claim(store)).deliveries
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=True))
        await store.prune(moment(store, MINUTE))
        await record(store, delivery)
        assert await attempts(store) == []


# Delivering again


async def test_resending_ignores_filters_and_counts_on(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store, event_types=("other.type",), channels=("vip",))
        sent = await emit(store)
        assert await store.resend("acme", sent.id, endpoint.id)
        first = await attempt(store)
        assert (first.event_id, first.number, first.trigger) == (sent.id, 1, "manual")
        assert await store.resend("acme", sent.id, endpoint.id)
        assert (await attempt(store)).number == 2


async def test_resending_a_pending_delivery_uses_no_step_of_the_schedule(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        sent = await emit(store)
        await attempt(store, 500, next_due=store.now())
        await attempt(store, 500, next_due=store.now() + DAY)
        for _ in range(2):
            assert await store.resend("acme", sent.id, endpoint.id)
            again = await attempt(store, 500, next_due=store.now() + DAY)
            assert (again.step, again.trigger) == (1, "manual")
        clock.advance(ms=DAY)
        assert [(one.step, one.trigger) for one in (await claim(store)).deliveries] == [(2, "scheduled")]


async def test_resending_during_an_attempt_delivers_once_more(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        sent = await emit(store)
        (under_way,) = (await claim(store)).deliveries
        await store.resend("acme", sent.id, endpoint.id)
        await record(store, under_way)
        assert (await attempt(store)).number == 2
        assert await due(store, within=DAY) == {}


async def test_a_tenant_cannot_resend_events_of_another(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        mine, theirs = await add(store), await add(store, "globex")
        sent, foreign = await emit(store, type="a.b"), await emit(store, "globex", type="a.b")
        for delivery in (await claim(store)).deliveries:
            await record(store, delivery)
        for event_id, endpoint_id in (
            (sent.id, theirs.id),
            (foreign.id, mine.id),
            (foreign.id, theirs.id),
            (sent.id, "ep_none"),
            ("msg_none", mine.id),
        ):
            assert await store.resend("acme", event_id, endpoint_id) is False
        assert await due(store, within=DAY) == {}


async def test_a_disabled_endpoint_gets_nothing_again_and_the_error_says_why(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store, disabled=True)
        sent = await emit(store)
        for call in (store.resend("acme", sent.id, endpoint.id), recover(store, endpoint, missing=True)):
            with pytest.raises(Conflict, match="Enable it first") as info:
                await call
            assert info.value.code == "endpoint_disabled"


async def test_recovering_queues_what_failed_and_never_succeeded(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        number = await number_of(store, endpoint)
        for _ in range(6):
            await emit(store)
        succeeded, failed, resent, waits, waits_a_moment, under_way = (await claim(store)).deliveries
        await record(store, succeeded)
        await record(store, failed, 500)
        await record(store, resent, 500)
        await record(store, waits, 500, next_due=store.now() + DAY)
        await record(store, waits_a_moment, 500, next_due=store.now() + 5000)
        await store.resend("acme", resent.event_id, endpoint.id)
        await attempt(store)
        assert await recover(store, endpoint) == 2
        recovered = (await claim(store, number)).deliveries
        assert {(one.event_id, one.number, one.trigger) for one in recovered} == {
            (failed.event_id, 2, "manual"),
            (waits.event_id, 2, "manual"),
        }
        assert under_way.event_id not in {one.event_id for one in recovered}
        assert await recover(store, endpoint) == 0


async def test_recovering_keeps_to_its_window_and_its_tenant(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        await emit(store)
        await attempt(store, 500)
        assert await recover(store, endpoint, since=-MINUTE) == 0
        assert await recover(store, endpoint, since=60 * MINUTE, until=30 * MINUTE) == 0
        assert await recover(store, endpoint, tenant="globex") is None
        assert await recover(store, endpoint) == 1


async def test_recovering_what_is_missing_follows_the_filters(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        sent = [
            (await emit(store, tenant, type=type, channels=channels)).id
            for tenant, type, channels in (
                ("acme", "invoice.paid", ("vip",)),
                ("acme", "invoice.paid", ()),
                ("acme", "invoice.paid", ("vip", "eu")),
                ("acme", "other.type", ("vip",)),
                ("globex", "invoice.paid", ("vip",)),
            )
        ]
        endpoint = await add(store, event_types=("invoice.paid",), channels=("vip",))
        await emit(store, channels=("vip",))
        await attempt(store)
        assert await recover(store, endpoint) == 0
        assert await count_missing(store, endpoint) == 2
        assert await count_missing(store, endpoint, since=-MINUTE) == 0
        assert await count_missing(store, endpoint, tenant="globex") is None
        assert await recover(store, endpoint, missing=True) == 2
        assert await count_missing(store, endpoint) == 0, "they are going to be sent"
        assert {one.event_id for one in (await claim(store)).deliveries} == {sent[0], sent[2]}
        assert await recover(store, endpoint, missing=True) == 0
        assert await count_missing(store, await add(store)) == 5, "it receives everything"
        disabled = await add(store, disabled=True)
        with pytest.raises(Conflict):
            await count_missing(store, disabled)


async def test_recovering_leaves_test_events_out(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        tried = await add(store)
        await store.insert_for(event(test=True), "acme", tried.id)
        await attempt(store, 500)
        await store.insert_for(event(), "acme", tried.id)
        await attempt(store, 500)
        await emit(store, test=True, type="test.ping")
        await attempt(store, 500)
        other = await add(store)
        for endpoint in (tried, other):
            assert await count_missing(store, endpoint) == 0
            assert await recover(store, endpoint, missing=True) == 0, "it was made for one moment, or one endpoint"
        real = await emit(store)
        for delivery in (await claim(store)).deliveries:
            await record(store, delivery, 500)
        assert [await recover(store, endpoint, missing=True) for endpoint in (tried, other)] == [1, 1]
        assert {one.event_id for one in (await claim(store)).deliveries} == {real.id}


async def test_recovering_more_than_a_batch_reaches_everything_once(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await store.submit([event() for _ in range(700)]).wait()
        endpoint = await add(store)
        assert await count_missing(store, endpoint) == 700
        assert await recover(store, endpoint, missing=True) == 700
        deliveries = (await claim(store, each=1000, capacity=Capacity(1000, 0, 1000))).deliveries
        assert len({one.event_id for one in deliveries}) == 700
        async with anyio.create_task_group() as tasks:
            for one in deliveries:
                tasks.start_soon(record, store, one, 500)
        assert await recover(store, endpoint, missing=True) == 700


# Attempts


async def history(store: Store, *statuses: int, tenant: str = "acme") -> list[str]:
    """Make attempts with these results, and return their ids, newest first."""
    for place, status in enumerate(statuses):
        await emit(store, tenant, type="invoice.paid" if place % 2 else "other.type")
        await attempt(store, status)
    return [one.id for one in await attempts(store, tenant)]


async def attempt_pages(store: Store, tenant: str = "acme", **query: Any) -> list[list[str]]:
    """Return the ids of each page."""
    found: list[list[str]] = []
    cursor = None
    while True:
        page = await store.list_attempts(tenant, AttemptQuery(**query, cursor=cursor))
        found.append([one.id for one in page.items])
        assert page.done is (page.next_cursor is None)
        if page.next_cursor is None:
            return found
        cursor = page.next_cursor


async def attempt_ids(store: Store, tenant: str = "acme", **query: Any) -> list[str]:
    return [id for page in await attempt_pages(store, tenant, **query) for id in page]


async def test_attempts_are_listed_newest_first_page_by_page(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        every = await history(store, 200, 500, 204, 404, 503, 200)
        assert len(every) == 6
        for limit in (1, 3, 250):
            assert await attempt_ids(store, limit=limit) == every
            assert await attempt_ids(store, limit=limit, endpoint_id=endpoint.id) == every
            assert await attempt_ids(store, limit=limit, status="success") == [every[0], every[3], every[5]]
            assert await attempt_ids(store, limit=limit, status="fail", status_code_class=5) == [every[1], every[4]]
            assert await attempt_ids(store, limit=limit, event_types=("invoice.paid",)) == every[0::2]
            assert await attempt_ids(store, limit=limit, status_code_class=0) == []


async def test_attempts_are_listed_by_event_and_endpoint(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        one, two = await add(store), await add(store)
        first = await number_of(store, one)
        sent, other = await emit(store), await emit(store)
        for delivery in (await claim(store)).deliveries:
            await record(store, delivery, 200 if delivery.endpoint == first else 500)
        assert len(await attempt_ids(store, event_id=sent.id, limit=1)) == 2
        (success,) = await attempts(store, event_id=sent.id, status="success")
        assert (success.event_id, success.endpoint_id) == (sent.id, one.id)
        assert len(await attempt_ids(store, event_id=other.id, endpoint_id=two.id)) == 1
        assert await attempt_ids(store, event_id="msg_none") == []


async def test_attempts_are_listed_between_two_times(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        await add(store)
        for _ in range(3):
            await emit(store)
            await attempt(store)
            clock.advance(ms=MINUTE)
        newest, middle, oldest = await attempts(store)
        half = timedelta(seconds=30)
        assert await attempt_ids(store, after=oldest.timestamp + half) == [newest.id, middle.id]
        assert await attempt_ids(store, before=oldest.timestamp + half) == [oldest.id]
        assert await attempt_ids(store, after=oldest.timestamp + half, before=middle.timestamp + half) == [middle.id]


async def test_a_tenant_cannot_see_the_attempts_of_another(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store, "globex")
        await history(store, 200, tenant="globex")
        (theirs,) = await attempts(store, "globex")
        assert await attempts(store) == []
        assert await attempts(store, endpoint_id=endpoint.id) == await attempts(store, event_id=theirs.event_id) == []


async def test_a_page_of_large_attempts_or_endpoints_ends_early(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        headers = {f"x-{number}": "x" * 4000 for number in range(20)}
        added = [(await add(store, headers=headers, event_types=(f"no.{n}",))).id for n in range(8)]
        receiver = await add(store, event_types=("a.b",))
        await store.submit([event(type="a.b") for _ in range(40)]).wait()
        for delivery in (await claim(store, each=40)).deliveries:
            await record(store, delivery, response="x" * 16_000)
        attempted = [len(page) for page in await attempt_pages(store, endpoint_id=receiver.id, limit=250)]
        assert sum(attempted) == 40
        assert max(attempted) < 20
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await store.list_endpoints("acme", limit=250, cursor=cursor)
            # Eight that have 80 KB, and a small one.
            assert len(page.items) <= 5
            found += [endpoint.id for endpoint in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert sorted(found) == sorted([*added, receiver.id])


@pytest.mark.parametrize(
    "cursor", ["", "x", "msg_2xYbnVn4gvBVd3z7qjHqSAPrGvi", "atmpt_'; DROP TABLE attempt", "atmpt_"]
)
async def test_an_invalid_cursor_of_attempts_is_refused(make_store: MakeStore, cursor: str) -> None:
    async with running(make_store) as store:
        with pytest.raises(InvalidRequest, match="cursor"):
            await store.list_attempts("acme", AttemptQuery(cursor=cursor))


async def test_statistics_are_counted_by_the_hour(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        hour = 3_600_000
        clock.advance(ms=hour - store.now() % hour)
        start = store.now() - store.now() % hour
        for minutes, status in ((0, 200), (1, 500), (60, 200), (120, 200)):
            clock.advance(ms=minutes * MINUTE)
            await emit(store)
            await attempt(store, status)
            # This also counts hours that are long over.
            await store.prune(moment(store, -DAY))
        await emit(store)
        since = moment(store, start - store.now() + 5)
        stats = await store.endpoint_stats("acme", endpoint.id, since, since + timedelta(hours=2))
        assert stats is not None
        assert (stats.success, stats.fail, stats.pending) == (2, 1, 1)
        assert [(round(at.timestamp() * 1000), *counts) for at, *counts in stats.buckets] == [
            (start, 1, 1),
            (start + hour, 1, 0),
        ]


async def test_the_event_of_a_disabled_endpoint_wakes_the_dispatcher(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        gone, _ = await add(store), await add(store)
        number = await number_of(store, gone)
        await emit(store)
        (delivery,) = (await claim(store, number)).deliveries
        dispatcher = Listening()
        store.on_deliveries(dispatcher)
        await record(store, delivery, 410)
        await eventually(lambda: dispatcher.unknown or dispatcher.woken)
