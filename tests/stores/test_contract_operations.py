"""What every store tells operators over all tenants: undelivered deliveries, endpoints, events and figures."""

from __future__ import annotations

from typing import Any

import pytest

from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import InvalidRequest
from starlette_webhooks.operations import EndpointQuery, RecentEvents, TenantQuery, TenantStatus
from starlette_webhooks.stores.base import Store
from starlette_webhooks.stores.processes import PREFIX
from starlette_webhooks.undelivered import Undelivered, UndeliveredQuery
from tests.clock import Clock
from tests.stores import contract
from tests.stores.contract import (
    LEASE,
    MINUTE,
    MakeStore,
    add,
    attempt,
    claim,
    due,
    event,
    moment,
    number_of,
    record,
    running,
)


@pytest.fixture
def clock() -> Clock:
    """A clock that only the test moves."""
    return Clock(speed=0)


async def emit(store: Store, tenant: str = "acme", **options: Any) -> Event:
    """Store an event that happens now, by the clock of the test."""
    return await contract.emit(store, tenant, milliseconds=store.now(), **options)


async def undelivered(store: Store, **query: Any) -> list[Undelivered]:
    """All pages of a query."""
    found: list[Undelivered] = []
    cursor: str | None = None
    while True:
        page = await store.find_undelivered(UndeliveredQuery(cursor=cursor, **query))
        found += page.items
        cursor = page.next_cursor
        if page.done:
            return found


async def states(store: Store, **query: Any) -> list[tuple[str, str]]:
    return [(one.event_id, one.state) for one in await undelivered(store, **query)]


# Undelivered deliveries


async def test_a_delivery_is_undelivered_until_a_2xx(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        sent = await emit(store)
        (waiting,) = await undelivered(store)
        assert (waiting.event_id, waiting.tenant, waiting.endpoint_id) == (sent.id, "acme", endpoint.id)
        assert (waiting.state, waiting.attempts, waiting.last_attempt_at) == ("waiting", 0, None)
        assert waiting.next_attempt_at == sent.timestamp
        clock.advance(ms=1000)
        tried_at = moment(store)
        await attempt(store, 503, next_due=store.now() + MINUTE)
        (failing,) = await undelivered(store)
        assert (failing.state, failing.attempts, failing.status_code) == ("failing", 1, 503)
        assert (failing.last_attempt_at, failing.next_attempt_at) == (tried_at, moment(store, MINUTE))
        clock.advance(ms=MINUTE)
        (running_now,) = (await claim(store)).deliveries
        assert [one.next_attempt_at for one in await undelivered(store)] == [None]
        await record(store, running_now, 0, error="timeout")
        (exhausted,) = await undelivered(store)
        assert (exhausted.state, exhausted.attempts, exhausted.error) == ("exhausted", 2, "timeout")
        assert exhausted.next_attempt_at is None
        await store.resend("acme", sent.id, endpoint.id)
        await attempt(store, 200)
        assert await undelivered(store) == []


async def test_what_arrived_and_is_sent_again_is_not_undelivered(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        sent = await emit(store)
        await attempt(store, 200)
        await store.resend("acme", sent.id, endpoint.id)
        assert await undelivered(store) == []
        await attempt(store, 500)
        assert await undelivered(store) == []


async def test_test_events_are_not_listed(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        await store.insert_for(event(test=True, milliseconds=store.now()), "acme", endpoint.id)
        assert await undelivered(store) == []
        await attempt(store, 500)
        assert await undelivered(store) == []


async def fill(store: Store, clock: Clock) -> dict[str, Any]:
    """Two tenants with an endpoint each, and events in every state."""
    acme, globex = await add(store), await add(store, "globex")
    exhausted = [await emit(store, type="a.b"), await emit(store, type="c.d")]
    for delivery in (await claim(store)).deliveries:
        await record(store, delivery, 404)
    clock.advance(ms=1000)
    failing = [await emit(store, type="a.b"), await emit(store, "globex", type="a.b")]
    for delivery in (await claim(store)).deliveries:
        await record(store, delivery, 0, error="timeout", next_due=store.now() + 60 * MINUTE)
    clock.advance(ms=1000)
    waiting = [await emit(store, "globex", type="c.d")]
    return {"acme": acme, "globex": globex, "exhausted": exhausted, "failing": failing, "waiting": waiting}


async def test_deliveries_are_listed_by_endpoint_then_by_state_then_newest_event_first(
    make_store: MakeStore, clock: Clock
) -> None:
    async with running(make_store) as store:
        made = await fill(store, clock)
        first, second = made["exhausted"]
        expected = [
            (second.id, "exhausted"),
            (first.id, "exhausted"),
            (made["failing"][0].id, "failing"),
            (made["failing"][1].id, "failing"),
            (made["waiting"][0].id, "waiting"),
        ]
        assert await states(store) == expected
        for limit in (1, 2, 4):
            assert await states(store, limit=limit) == expected


async def test_filters_apply_to_all_states(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        made = await fill(store, clock)
        assert len(await undelivered(store, tenant="acme")) == 3
        assert len(await undelivered(store, tenant="globex", limit=1)) == 2
        assert await undelivered(store, tenant="initech") == []
        assert len(await undelivered(store, endpoint_id=made["globex"].id)) == 2
        assert await undelivered(store, endpoint_id=made["globex"].id, tenant="acme") == []
        assert len(await undelivered(store, event_types=("a.b",))) == 3
        assert [state for _, state in await states(store, states=("exhausted", "waiting"))] == [
            "exhausted",
            "exhausted",
            "waiting",
        ]
        assert len(await undelivered(store, status_code_class=4)) == 2
        assert [one.error for one in await undelivered(store, status_code_class=0)] == ["timeout", "timeout"]
        assert len(await undelivered(store, before=moment(store))) == 4
        assert len(await undelivered(store, after=moment(store))) == 1
        assert len(await undelivered(store, after=moment(store, -1000), before=moment(store))) == 2
        assert len(await undelivered(store, attempted_before=moment(store, -1000))) == 3


async def test_a_page_ends_early_if_few_of_many_match(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        await fill(store, clock)
        pages, cursor = [], None
        while True:
            query = UndeliveredQuery(event_types=("c.d",), cursor=cursor)
            page = await store.find_undelivered(query, looked_at=2)
            pages.append(len(page.items))
            cursor = page.next_cursor
            if page.done:
                break
        assert sum(pages) == 2
        assert len(pages) > 2


async def test_a_page_continues_although_the_delivery_before_it_is_gone(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await add(store)
        sent = [await emit(store) for _ in range(3)]
        page = await store.find_undelivered(UndeliveredQuery(limit=1))
        for delivery in (await claim(store)).deliveries:
            if delivery.event_id == page.items[0].event_id:
                await record(store, delivery, 200)
        rest = await store.find_undelivered(UndeliveredQuery(cursor=page.next_cursor))
        assert {one.event_id for one in rest.items} == {one.id for one in sent} - {page.items[0].event_id}


async def test_a_cursor_of_an_endpoint_that_is_gone_starts_again(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoints = [await add(store) for _ in range(2)]
        await emit(store)
        page = await store.find_undelivered(UndeliveredQuery(limit=1))
        await store.delete_endpoint("acme", page.items[0].endpoint_id)
        (rest,) = (await store.find_undelivered(UndeliveredQuery(cursor=page.next_cursor))).items
        assert {rest.endpoint_id, page.items[0].endpoint_id} == {one.id for one in endpoints}


@pytest.mark.parametrize("cursor", ["x", "ep_1.failing"])
async def test_an_invalid_cursor_of_undelivered_deliveries_is_refused(make_store: MakeStore, cursor: str) -> None:
    async with running(make_store) as store:
        with pytest.raises(InvalidRequest, match="Invalid cursor"):
            await store.find_undelivered(UndeliveredQuery(cursor=cursor))


async def test_deliveries_to_a_disabled_endpoint_are_listed_as_such(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        await emit(store)
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=True))
        (held,) = await undelivered(store)
        assert held.endpoint_disabled is True
        assert (held.state, held.next_attempt_at) == ("waiting", None)
        await store.delete_endpoint("acme", endpoint.id)
        assert await undelivered(store) == []


async def test_what_could_not_be_recorded_is_exhausted_and_can_be_retried(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await add(store)
        await emit(store)
        (delivery,) = (await claim(store)).deliveries
        await store.set_aside(delivery)
        (found,) = await undelivered(store)
        assert (found.state, found.next_attempt_at) == ("exhausted", None)
        assert len(await store.requeue([found.numbers])) == 1
        assert len(await due(store)) == 1


# Retrying


async def test_exhausted_and_failing_deliveries_are_due_now_once_they_are_requeued(
    make_store: MakeStore, clock: Clock
) -> None:
    async with running(make_store) as store:
        made = await fill(store, clock)
        found = [one.numbers for one in await undelivered(store, tenant="acme")]
        number = await number_of(store, made["acme"])
        # What else arrived there does not matter.
        await emit(store, type="e.f")
        (arrived,) = (await claim(store, number)).deliveries
        await record(store, arrived, 200)
        assert list(await store.requeue(found)) == [number] * 3
        claimed = (await claim(store, number)).deliveries
        assert sorted(one.number for one in claimed) == [2, 2, 2]
        assert {one.trigger for one in claimed} == {"manual"}
        # Now they are running, and are left alone.
        assert await store.requeue(found) == []
        for delivery in claimed:
            await record(store, delivery, 200)
        assert await store.requeue(found) == []
        assert await undelivered(store, tenant="acme") == []


async def test_deliveries_of_disabled_endpoints_and_removed_events_are_not_requeued(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        await emit(store)
        await attempt(store, 404)
        found = [one.numbers for one in await undelivered(store)]
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=True))
        assert await store.requeue(found) == []
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=False))
        await store.erase("acme")
        assert await store.requeue(found) == []


async def test_deliveries_that_are_due_soon_stay_as_they_are(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await add(store)
        await emit(store)
        await attempt(store, 503, next_due=store.now() + 5000)
        assert await store.requeue([one.numbers for one in await undelivered(store)]) == []


# Endpoints and events of all tenants


async def test_endpoints_of_all_tenants_are_found_by_their_state(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        working = await add(store)
        clock.advance(ms=1000)
        failing = await add(store, "globex")
        clock.advance(ms=1000)
        disabled = await add(store, "globex", disabled=True)
        await emit(store, "globex")
        failed_at = moment(store)
        await attempt(store, 429, next_due=store.now() + MINUTE, pause_until=store.now() + MINUTE)

        async def found(**query: Any) -> list[str]:
            return [one.endpoint.id for one in (await store.find_endpoints(EndpointQuery(**query))).items]

        assert await found() == [disabled.id, failing.id, working.id]
        assert await found(state="ok") == [working.id]
        assert await found(state="disabled") == [disabled.id]
        assert await found(tenant="acme") == [working.id]
        assert await found(tenant="globex", state="failing") == [failing.id]
        assert await found(endpoint_id=working.id) == [working.id]
        assert await found(endpoint_id=working.id, tenant="globex") == []
        (status,) = (await store.find_endpoints(EndpointQuery(state="failing"))).items
        assert (status.state, status.failing_since, status.waiting) == ("failing", failed_at, 1)
        assert (status.last_failure_at, status.status_code) == (failed_at, 429)
        assert status.paused_until == moment(store, MINUTE)
        first = await store.find_endpoints(EndpointQuery(limit=2))
        assert not first.done
        assert await found(cursor=first.next_cursor) == [working.id]


async def test_the_endpoints_of_a_tenant_are_listed_by_how_urgent_they_are(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        works = [(await add(store)).id]
        manual = await add(store, disabled=True)
        paused, failing, gone = [await add(store) for _ in range(3)]
        await add(store, "globex")
        clock.advance(ms=1000)
        await emit(store)
        await emit(store)
        later = store.now() + MINUTE
        claimed = {
            one.id: (await claim(store, await number_of(store, one))).deliveries for one in (paused, failing, gone)
        }
        await record(store, claimed[paused.id][0], 429, next_due=later, pause_until=later)
        await record(store, claimed[paused.id][1])
        await record(store, claimed[failing.id][0], 500, next_due=later)
        await record(store, claimed[gone.id][0], 410)
        clock.advance(ms=1000)
        works.insert(0, (await add(store)).id)

        found: list[str] = []
        cursor: str | None = None
        done = False
        while not done:
            query = EndpointQuery(tenant="acme", order="urgency", limit=2, cursor=cursor)
            page = await store.find_endpoints(query)
            found += [one.endpoint.id for one in page.items]
            cursor, done = page.next_cursor, page.done
        assert found == [gone.id, failing.id, paused.id, *works, manual.id]
        working = EndpointQuery(tenant="acme", order="urgency", state="ok")
        assert [one.endpoint.id for one in (await store.find_endpoints(working)).items] == [paused.id, *works]


def test_only_endpoints_of_one_tenant_are_ordered_by_urgency() -> None:
    with pytest.raises(ValueError, match="of one tenant"):
        EndpointQuery(order="urgency")


async def test_pages_of_large_endpoints_end_early_like_the_list_of_a_tenant(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        large: dict[str, Any] = {
            "headers": {"x-large": "a" * 4096},
            "metadata": {"note": "b" * 3000},
            "description": "c" * 1000,
        }
        endpoints = [await add(store, **large) for _ in range(40)]
        page = await store.find_endpoints(EndpointQuery(tenant="acme", limit=100))
        listed = await store.list_endpoints("acme", limit=100, cursor=None)
        assert [one.endpoint.id for one in page.items] == [one.id for one in listed.items]
        assert 0 < len(page.items) < len(endpoints)
        rest = await store.find_endpoints(EndpointQuery(tenant="acme", limit=100, cursor=page.next_cursor))
        assert (len(page.items) + len(rest.items), rest.done) == (len(endpoints), True)


async def test_an_event_is_found_whoever_it_belongs_to(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        for tenant in ("acme", "globex", "initech"):
            await emit(store, tenant)
        sent = await emit(store, "globex")
        assert await store.find_event(sent.id) == sent
        assert await store.find_event("msg_000000000000000000000000000") is None


async def test_recent_events_are_listed_by_commit(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        sent = [await emit(store, tenant, event_id=tenant) for tenant in ("acme", "globex", "initech")]
        first = await store.recent_events(RecentEvents(limit=2))
        assert [one.event_id for one in first.items] == ["initech", "globex"]
        rest = await store.recent_events(RecentEvents(limit=2, cursor=first.next_cursor))
        assert [(one.id, one.tenant) for one in rest.items] == [(sent[0].id, "acme")]
        assert rest.done
        with pytest.raises(InvalidRequest, match="Invalid cursor"):
            await store.recent_events(RecentEvents(cursor="x"))


# Figures


async def test_the_figures_of_an_empty_store_are_zero(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        found = await store.overview()
        assert (found.waiting, found.failing, found.exhausted, found.held, found.late) == (0, 0, 0, 0, 0.0)
        assert (found.endpoints, found.outbox_waiting, found.dead_lettered, found.dispatchers) == (0, 0, 0, 0)
        assert found.storage_bytes > 0


async def test_the_figures_count_by_state_over_all_tenants(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        await fill(store, clock)
        off = await add(store, "initech")
        await emit(store, "initech")
        await store.update_endpoint("initech", off.id, EndpointChanges(disabled=True))
        clock.advance(ms=5000)
        found = await store.overview()
        assert (found.waiting, found.failing, found.exhausted, found.held) == (3, 2, 2, 1)
        assert (found.endpoints, found.endpoints_failing, found.endpoints_disabled) == (3, 2, 1)
        # Endpoints that are failing or disabled let deliveries wait on purpose.
        assert found.late == 0.0
        await add(store, "hooli")
        await emit(store, "hooli")
        clock.advance(ms=3000)
        assert (await store.overview()).late == 3.0


async def test_what_arrived_since_or_belongs_to_a_test_is_not_counted_as_exhausted(
    make_store: MakeStore, clock: Clock
) -> None:
    async with running(make_store) as store:
        first, second = await add(store), await add(store)
        sent = await emit(store)
        failed, arrived = sorted((await claim(store)).deliveries, key=lambda one: one.endpoint_id != first.id)
        await record(store, failed, 404)
        await record(store, arrived, 200)
        # The successes of other events, and at other endpoints, do not count.
        await emit(store)
        for delivery in (await claim(store)).deliveries:
            await record(store, delivery, 200)
        await store.insert_for(event(test=True, milliseconds=store.now()), "acme", second.id)
        await attempt(store, 404)
        assert (await store.overview()).exhausted == 1
        await store.resend("acme", sent.id, first.id)
        assert (await store.overview()).exhausted == 0, "it waits again"
        await attempt(store, 200)
        assert (await store.overview()).exhausted == 0


async def test_what_a_pace_holds_back_is_not_late_while_somebody_delivers(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        await add(store, rate_limit=1)
        for _ in range(2):
            await emit(store)
        (delivery,) = (await claim(store)).deliveries
        await record(store, delivery, 200)
        clock.advance(ms=3000)
        assert (await store.overview()).late == 0.0
        clock.advance(ms=5000)
        assert (await store.overview()).late == 8.0


async def test_a_running_attempt_does_not_hide_what_is_overdue(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        await add(store)
        await emit(store)
        clock.advance(ms=1000)
        await emit(store)
        await claim(store, each=1)
        clock.advance(ms=3000)
        assert (await store.overview()).late == 3.0
        clock.advance(ms=LEASE)
        assert (await store.overview()).late >= 3.0


async def test_processes_that_deliver_are_counted_while_their_reports_are_new(
    make_store: MakeStore, clock: Clock
) -> None:
    async with running(make_store) as store:
        for name in ("one", "two"):
            await store.report_process(f"{PREFIX}{name}")
        assert (await store.overview()).dispatchers == 2
        clock.advance(ms=2 * MINUTE)
        await store.report_process(f"{PREFIX}two")
        assert (await store.overview()).dispatchers == 1
        assert len(await store.find_meta([f"{PREFIX}one", f"{PREFIX}two"])) == 2
        # Killed processes do not remain for ever.
        clock.advance(ms=10 * MINUTE)
        await store.report_process(f"{PREFIX}two")
        assert list(await store.find_meta([f"{PREFIX}one", f"{PREFIX}two"])) == [f"{PREFIX}two"]


# Tenants


async def tenants(store: Store, **query: Any) -> list[str]:
    """The names of all pages of a query."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await store.find_tenants(TenantQuery(cursor=cursor, **query))
        found += [one.tenant for one in page.items]
        cursor = page.next_cursor
        if page.done:
            return found


async def test_tenants_are_listed_by_name_with_their_figures(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        assert await tenants(store) == []
        endpoint = await add(store, "beta")
        await add(store, "beta", disabled=True)
        await add(store, "beta")
        sent = await emit(store, "beta")
        await emit(store, "Alpha")
        await add(store, "gamma")
        clock.advance(ms=1000)
        latest = await emit(store, "Alpha")
        for delivery in (await claim(store)).deliveries:
            if delivery.endpoint == await number_of(store, endpoint):
                await record(store, delivery, 503, next_due=store.now() + MINUTE)
            else:
                await record(store, delivery, 200)
        page = await store.find_tenants(TenantQuery())
        assert (page.done, page.next_cursor) == (True, None)
        alpha, beta, gamma = page.items
        assert alpha == TenantStatus(tenant="Alpha", last_event_at=latest.timestamp)
        assert beta == TenantStatus(
            tenant="beta",
            endpoints=3,
            endpoints_failing=1,
            endpoints_disabled=1,
            waiting=1,
            last_event_at=sent.timestamp,
        )
        assert gamma == TenantStatus(tenant="gamma", endpoints=1)
        assert await tenants(store, failing=True) == ["beta"]
        assert await tenants(store, failing=True, starts_with="g") == []


async def test_tenants_are_paged_and_found_by_the_start_of_their_names(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        names = ["a", "a%", "ab", "abc", "b", "\u00e9"]
        for name in names[::2]:
            await add(store, name)
        for name in names:
            await emit(store, name)
        for limit in (1, 2, 5, 6, 7):
            assert await tenants(store, limit=limit) == names
            assert await tenants(store, limit=limit, starts_with="ab") == ["ab", "abc"]
        assert await tenants(store, starts_with="a%") == ["a%"]
        assert await tenants(store, starts_with="c") == []
