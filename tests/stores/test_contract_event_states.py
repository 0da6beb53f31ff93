"""The states of events' deliveries, in every store: a search over events, and the deliveries of one event."""

from __future__ import annotations

from typing import Any

import pytest

from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.event_states import EventDelivery, EventSearch, EventSummary
from starlette_webhooks.events import Event
from starlette_webhooks.identifiers import mint
from starlette_webhooks.stores.base import Store
from tests.clock import Clock
from tests.stores import contract
from tests.stores.contract import MINUTE, MakeStore, add, attempt, claim, event, moment, number_of, record, running

STATES = ("delivered", "waiting", "failing", "exhausted")


@pytest.fixture
def clock() -> Clock:
    """A clock that only the test moves."""
    return Clock(speed=0)


async def emit(store: Store, type: str = "invoice.paid", **options: Any) -> Event:
    """Store an event that happens now, by the clock of the test."""
    return await contract.emit(store, "acme", type, milliseconds=store.now(), **options)


async def search(store: Store, *, looked_at: int = 5000, **query: Any) -> list[EventSummary]:
    """All pages of a query."""
    found: list[EventSummary] = []
    cursor: str | None = None
    while True:
        asked = EventSearch(**{"tenant": "acme", "cursor": cursor, **query})
        page = await store.search_events(asked, looked_at=looked_at)
        found += page.items
        cursor = page.next_cursor
        assert page.done is (cursor is None)
        if page.done:
            return found


async def ids(store: Store, **query: Any) -> list[str]:
    return [one.id for one in await search(store, **query)]


async def deliveries(store: Store, event_id: str, **options: Any) -> list[EventDelivery]:
    """The deliveries of an event, in one page."""
    page = await store.event_deliveries("acme", event_id, **{"limit": 50, "cursor": None, **options})
    assert page is not None
    return list(page.items)


def counts(summary: EventSummary) -> dict[str, int]:
    return {state: number for state in STATES if (number := getattr(summary, state))}


async def test_an_event_counts_its_deliveries_by_state(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        unsent = await emit(store)
        endpoints = [await add(store) for _ in range(4)]
        numbers = [await number_of(store, endpoint) for endpoint in endpoints]
        sent = await emit(store)
        assert counts((await search(store))[0]) == {"waiting": 4}
        leased = {one.endpoint: one for one in (await claim(store)).deliveries}
        await record(store, leased[numbers[0]], 200)
        await record(store, leased[numbers[1]], 503, next_due=store.now() + MINUTE)
        await record(store, leased[numbers[2]], 500)
        await store.set_aside(leased[numbers[3]])
        newest, oldest = await search(store)
        assert counts(newest) == {"delivered": 1, "failing": 1, "exhausted": 2}
        assert (oldest.id, counts(oldest)) == (unsent.id, {})
        for state in ("delivered", "failing", "exhausted"):
            assert await ids(store, state=state) == [sent.id]
        assert await ids(store, state="waiting") == []
        assert await ids(store, state="unsent") == [unsent.id]
        for endpoint, state in zip(endpoints, ("delivered", "failing", "exhausted", "exhausted"), strict=True):
            (one,) = [found for found in await search(store, endpoint_id=endpoint.id) if found.id == sent.id]
            assert counts(one) == {state: 1}
            assert await ids(store, endpoint_id=endpoint.id, state=state) == [sent.id]
        assert await ids(store, endpoint_id=mint("ep_")) == []


async def test_what_arrived_and_is_sent_again_is_delivered(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        sent = await emit(store)
        await attempt(store, 200)
        await store.resend("acme", sent.id, endpoint.id)
        assert counts((await search(store))[0]) == {"delivered": 1}
        await attempt(store, 500)
        assert counts((await search(store))[0]) == {"delivered": 1}
        assert [one.state for one in await deliveries(store, sent.id)] == ["delivered"]


async def test_a_search_filters_by_type_channel_time_and_tenant(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        first = await emit(store, "invoice.paid", channels=("a",))
        clock.advance(ms=MINUTE)
        second = await emit(store, "invoice.created", channels=("a", "b"))
        middle = moment(store)
        clock.advance(ms=MINUTE)
        third = await emit(store, "document.created")
        await contract.emit(store, "globex", milliseconds=store.now())
        assert await ids(store) == [third.id, second.id, first.id]
        assert await ids(store, event_types=("document.created", "invoice.paid")) == [third.id, first.id]
        assert await ids(store, channel="a") == [second.id, first.id]
        assert await ids(store, channel="a", event_types=("invoice.created", "invoice.paid")) == [second.id, first.id]
        assert await ids(store, channel="b", event_types=("invoice.paid",)) == []
        assert await ids(store, before=middle) == [first.id]
        assert await ids(store, after=middle) == [third.id, second.id]
        assert await ids(store, limit=1, state="unsent") == [third.id, second.id, first.id]


async def test_a_search_finds_a_text_in_the_payload(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        plain = await emit(store, data={"customer": "Zoë O'Hara", "note": 'She said "yes".\n'})
        await emit(store, data={"customer": "ada"})
        for text in ("Zoë", "O'Hara", '"customer":"Zoë', 'said "yes"', 'yes".\n'):
            assert await ids(store, text=text) == [plain.id]
        for text in ("zoë", "%", "_da", "nobody"):
            assert await ids(store, text=text) == []


async def test_a_page_of_a_search_ends_early_with_a_cursor(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        wanted = await emit(store, data={"is": "wanted"})
        for _ in range(7):
            clock.advance(ms=10)
            await emit(store)
        first = await store.search_events(EventSearch(tenant="acme", text="wanted"), looked_at=3)
        assert (list(first.items), first.done) == ([], False)
        assert await ids(store, text="wanted", looked_at=3) == [wanted.id]


async def test_a_page_of_a_search_has_as_many_events_as_were_asked_for(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        sent = [await emit(store) for _ in range(5)]
        first = await store.search_events(EventSearch(tenant="acme", limit=3), looked_at=5000)
        assert [one.id for one in first.items] == [one.id for one in reversed(sent[2:])]
        rest = EventSearch(tenant="acme", limit=3, cursor=first.next_cursor)
        last = await store.search_events(rest, looked_at=5000)
        assert ([one.id for one in last.items], last.done) == ([sent[1].id, sent[0].id], True)


async def test_a_summary_has_the_start_of_the_data(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await emit(store, data={"amount": 9900})
        assert (await search(store))[0].preview == '{"amount":9900}'
        await emit(store, data={"text": "ä" * 5000})
        assert (await search(store))[0].preview == '{"text":"' + "ä" * 151 + "…"
        endpoint = await add(store)
        await store.insert_for(event(test=True, milliseconds=store.now(), data={"a": 1}), "acme", endpoint.id)
        (test,) = [one for one in await search(store) if one.test]
        assert test.preview == '{"a":1}'


async def test_each_endpoint_shows_its_delivery_or_why_there_is_none(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        receives = await add(store)
        other_type = await add(store, event_types=("document.created",))
        other_channel = await add(store, channels=("b",))
        disabled = await add(store, disabled=True)
        changed = await add(store, event_types=("document.created",))
        clock.advance(ms=10)
        sent = await emit(store, channels=("a",))
        clock.advance(ms=10)
        later = await add(store)
        await store.update_endpoint("acme", changed.id, EndpointChanges(event_types=()))
        found = {one.endpoint_id: one for one in await deliveries(store, sent.id)}
        assert {identifier: one.reason for identifier, one in found.items() if one.state == "unsent"} == {
            other_type.id: "event_type",
            other_channel.id: "channel",
            disabled.id: "disabled",
            changed.id: "changed_since",
            later.id: "added_later",
        }
        waiting = found[receives.id]
        assert (waiting.state, waiting.attempts, waiting.running) == ("waiting", 0, False)
        assert waiting.next_attempt_at == sent.timestamp
        (leased,) = (await claim(store)).deliveries
        (sending,) = [one for one in await deliveries(store, sent.id) if one.state == "waiting"]
        assert (sending.running, sending.next_attempt_at) == (True, None)
        await record(store, leased, 503, next_due=store.now() + MINUTE)
        (failing,) = [one for one in await deliveries(store, sent.id) if one.state == "failing"]
        assert (failing.attempts, failing.status_code, failing.next_attempt_at) == (1, 503, moment(store, MINUTE))
        clock.advance(ms=MINUTE)
        await attempt(store, 500, next_due=store.now() + MINUTE)
        (failing,) = [one for one in await deliveries(store, sent.id) if one.state == "failing"]
        assert (failing.attempts, failing.status_code) == (2, 500)
        await store.update_endpoint("acme", receives.id, EndpointChanges(disabled=True))
        (held,) = [one for one in await deliveries(store, sent.id) if one.state == "failing"]
        assert (held.endpoint_disabled, held.next_attempt_at) == (True, None)


async def test_a_test_of_one_endpoint_is_not_for_others(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        one, other = await add(store), await add(store)
        test = await store.insert_for(event(test=True, milliseconds=store.now() + 1000), "acme", one.id)
        found = {delivery.endpoint_id: delivery for delivery in await deliveries(store, test.id)}
        assert (found[one.id].state, found[other.id].reason) == ("waiting", "test")


async def test_the_deliveries_of_an_event_are_paged_and_of_one_tenant(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        mine = {(await add(store)).id for _ in range(3)}
        await add(store, "globex")
        sent = await emit(store)
        seen: list[str] = []
        cursor: str | None = None
        for last in (False, False, True):
            page = await store.event_deliveries("acme", sent.id, limit=1, cursor=cursor)
            assert page is not None
            seen += [one.endpoint_id for one in page.items]
            cursor = page.next_cursor
            assert page.done is last
        assert (set(seen), len(seen)) == (mine, 3)
        assert await store.event_deliveries("globex", sent.id, limit=1, cursor=None) is None
