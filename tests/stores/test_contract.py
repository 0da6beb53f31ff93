"""What every store does with events and endpoints. Deliveries are in a separate file."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.delivery.claims import ClaimRequest
from starlette_webhooks.delivery.slots import Capacity
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.events import EventQuery
from starlette_webhooks.exceptions import BackendUnavailable, Conflict, NotRunning
from starlette_webhooks.feed import Entry, Replay, StreamFilter
from starlette_webhooks.identifiers import first_id, mint, position_id
from starlette_webhooks.stores.base import RecoverWindow, Store
from tests.clock import Clock
from tests.eventually import eventually
from tests.faults import faults
from tests.stores.contract import (
    DAY,
    MINUTE,
    URL,
    MakeStore,
    add,
    attempt,
    attempts,
    claim,
    due,
    emit,
    event,
    ids,
    moment,
    outcome,
    running,
)

KEY = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
MISSING_EVENT, MISSING_ENDPOINT = "msg_" + "0" * 27, "ep_" + "0" * 27


# Lifespan

CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "insert_for": lambda store: store.insert_for(event(), "acme", MISSING_ENDPOINT),
    "list_events": lambda store: store.list_events("acme", EventQuery()),
    "get_event": lambda store: store.get_event("acme", MISSING_EVENT),
    "replay": lambda store: store.replay("acme", StreamFilter(), None),
    "position": lambda store: store.position("acme"),
    "list_endpoints": lambda store: store.list_endpoints("acme", limit=1, cursor=None),
    "get_endpoint": lambda store: store.get_endpoint("acme", MISSING_ENDPOINT),
    "endpoint_number": lambda store: store.endpoint_number("acme", MISSING_ENDPOINT),
    "create_endpoint": lambda store: store.create_endpoint("acme", EndpointChanges(url=URL), limit=1),
    "update_endpoint": lambda store: store.update_endpoint("acme", MISSING_ENDPOINT, EndpointChanges()),
    "delete_endpoint": lambda store: store.delete_endpoint("acme", MISSING_ENDPOINT),
    "get_secret": lambda store: store.get_secret("acme", MISSING_ENDPOINT),
    "rotate_secret": lambda store: store.rotate_secret("acme", MISSING_ENDPOINT, KEY),
    "list_attempts": lambda store: store.list_attempts("acme", AttemptQuery()),
    "endpoint_stats": lambda store: store.endpoint_stats("acme", MISSING_ENDPOINT, moment(store), moment(store)),
    "due": lambda store: store.due(after=0, due_by=store.now()),
    "claim": lambda store: store.claim(
        ClaimRequest(requests=[], capacity=Capacity(1, 0, 1), tenants={}, now=store.now(), lease=store.now())
    ),
    "resend": lambda store: store.resend("acme", MISSING_EVENT, MISSING_ENDPOINT),
    "recover": lambda store: store.recover(
        "acme", MISSING_ENDPOINT, RecoverWindow(moment(store), None, missing=False), None
    ),
    "count_missing": lambda store: store.count_missing("acme", MISSING_ENDPOINT, moment(store), None, None),
    "read_meta": lambda store: store.read_meta("name", b"value"),
    "write_meta": lambda store: store.write_meta("name", b"value"),
    "find_meta": lambda store: store.find_meta(["name"]),
    "drop_meta": lambda store: store.drop_meta("a", "b"),
    "prune": lambda store: store.prune(moment(store)),
    "erase": lambda store: store.erase("acme"),
}


async def test_outside_its_lifespan_every_call_says_that_it_is_not_running(make_store: MakeStore) -> None:
    store = make_store()
    before = await faults(CALLS, store)
    async with store.lifespan():
        pass
    for found in (before, await faults(CALLS, store)):
        assert {name: type(fault) for name, fault in found.items()} == dict.fromkeys(CALLS, NotRunning)


async def test_outside_its_lifespan_it_refuses_events_and_watches_nothing(make_store: MakeStore) -> None:
    store = make_store()
    with pytest.raises(NotRunning):
        store.submit([event()])
    with pytest.raises(NotRunning):
        store.watch("acme")
    with pytest.raises(NotRunning):
        store.unwatch("acme")


async def test_submitted_events_are_there_after_a_restart(make_shared_store: MakeStore) -> None:
    async with running(make_shared_store) as store:
        submission = store.submit([event()])
    assert submission.finished
    (stored,) = await submission.wait()
    async with running(make_shared_store) as store:
        assert await ids(store) == [stored.id]


# Events


async def test_an_event_is_read_as_it_was_stored(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        stored = await emit(store, data={"note": "größer ✓ \U0001f600"}, channels=["eu", "vip"], event_id="order-1")
        assert await store.get_event("acme", stored.id) == stored
        assert (await store.list_events("acme", EventQuery())).items == [stored]
        assert stored.channels == ("eu", "vip")
        assert await store.get_event("globex", stored.id) is None
        assert await ids(store, "globex") == []


async def test_an_event_id_that_comes_again_is_the_first_event_of_that_tenant(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await add(store)
        first = await emit(store, event_id="order-1", data={"n": 1})
        again = await emit(store, event_id="order-1", data={"n": 2})
        both = await store.submit([event(event_id="order-1"), event(event_id="order-2"), event()]).wait()
        twice = await store.submit([event(event_id="order-3"), event(event_id="order-3")]).wait()
        other = await emit(store, "globex", event_id="order-1")
        assert again == both[0] == first
        assert twice[0] == twice[1]
        assert other.id != first.id
        assert len(await ids(store)) == 4
        assert len((await claim(store)).deliveries) == 4, "no event is delivered twice"


async def test_an_event_without_an_event_id_is_known_by_the_one_that_follows_from_its_id(
    make_store: MakeStore,
) -> None:
    async with running(make_store) as store:
        first = await emit(store)
        assert first.event_id == "evt_" + first.id[4:]
        assert await emit(store, event_id=first.event_id) == first


async def test_a_submission_is_one_commit_of_all_its_events_in_order(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        sent = [event(data={"n": n}) for n in range(200)]
        submission = store.submit(sent)
        assert await submission.wait() == sent
        assert submission.finished
        assert not submission.failed
        assert await submission.wait() == sent
        assert await ids(store, limit=250) == sorted((one.id for one in sent), reverse=True)


async def test_many_concurrent_submissions_are_all_stored(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        number = await store.endpoint_number("acme", (await add(store)).id)
        async with anyio.create_task_group() as tasks:
            for n in range(60):
                options: dict[str, Any] = {"channels": ["eu"]} if n % 10 == 0 else {}
                tasks.start_soon(lambda options=options: emit(store, **options))  # type: ignore[misc]
        assert len(await ids(store, limit=250)) == 60
        assert number is not None
        assert len((await claim(store, number, each=100)).deliveries) == 60


async def test_events_are_listed_newest_first_in_pages(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        sent = [await emit(store) for _ in range(5)]
        newest_first = sorted((one.id for one in sent), reverse=True)
        first = await store.list_events("acme", EventQuery(limit=3))
        rest = await store.list_events("acme", EventQuery(limit=3, cursor=first.next_cursor))
        assert [one.id for one in [*first.items, *rest.items]] == newest_first
        assert (first.done, rest.done, rest.next_cursor) == (False, True, None)


FILTERS: tuple[tuple[dict[str, Any], set[int]], ...] = (
    ({"event_types": ("a.b",)}, {0, 2, 3}),
    ({"event_types": ("a.b", "c.d", "e.f")}, {0, 1, 2, 3}),
    ({"channel": "eu"}, {2, 3}),
    ({"channel": "eu", "event_types": ("a.b", "c.d")}, {2, 3}),
    ({"channel": "us", "event_types": ("c.d",)}, set()),
    ({"channel": "eu", "limit": 1}, {3}),
)


async def test_a_list_filters_by_type_and_channel(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        sent = [
            (await emit(store, type=type, channels=channels)).id
            for type, channels in (("a.b", ()), ("c.d", ()), ("a.b", ("eu", "us")), ("a.b", ("eu",)))
        ]
        await emit(store, "globex", type="a.b", channels=("eu",))
        found = [(query, {sent.index(id) for id in await ids(store, **query)}) for query, _ in FILTERS]
        assert found == list(FILTERS)


async def test_times_bound_a_list_to_4_ms(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        sent = await emit(store)
        tick = timedelta(milliseconds=4)
        assert await ids(store, after=sent.timestamp) == [sent.id]
        assert await ids(store, after=sent.timestamp + tick) == []
        assert await ids(store, before=sent.timestamp) == []
        assert await ids(store, before=sent.timestamp + tick) == [sent.id]


async def test_a_page_of_large_events_ends_early_and_the_next_one_continues(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await store.submit([event(data={"x": "y" * 1_000_000}) for _ in range(12)]).wait()
        first = await store.list_events("acme", EventQuery(limit=250))
        assert 0 < len(first.items) < 12
        assert not first.done
        rest = await store.list_events("acme", EventQuery(limit=250, cursor=first.next_cursor))
        assert len({one.id for one in [*first.items, *rest.items]}) == 12


# The feed


class Ears:
    """A listener that collects what is published."""

    def __init__(self, *tenants: str) -> None:
        self.tenants = set(tenants)
        self.entries: list[Entry] = []

    def publish(self, entries: Sequence[Entry]) -> None:
        self.entries += entries

    def restart(self) -> None:
        raise AssertionError("The log has lost nothing.")

    @property
    def ids(self) -> list[str]:
        return [entry.event.id for entry in self.entries]


async def replayed(replay: Replay) -> list[str]:
    return [one.id async for page in replay.pages() for one in page]


async def test_a_listener_gets_each_event_of_its_tenants_once_and_in_order(make_store: MakeStore) -> None:
    store, ears = make_store(), Ears("acme")
    store.listen(ears)
    async with store.lifespan():
        store.watch("acme")
        await store.replay("acme", StreamFilter(), None)
        sent = []
        for n in range(20):
            sent.append((await emit(store, channels=["eu"] if n % 3 else ())).id)
            await emit(store, "globex")
        await eventually(lambda: len(ears.entries) >= 20)
        assert ears.ids == sent
        positions = [entry.position for entry in ears.entries]
        assert positions == sorted(set(positions))


async def test_a_listener_gets_commits_of_other_processes(make_shared_store: MakeStore) -> None:
    store, ears = make_shared_store(), Ears("acme")
    store.listen(ears)
    async with store.lifespan(), running(make_shared_store) as other:
        store.watch("acme")
        await store.replay("acme", StreamFilter(), None)
        sent = [(await emit(other if n % 3 else store)).id for n in range(20)]
        await eventually(lambda: len(ears.entries) >= 20)
        assert sorted(ears.ids) == sorted(sent)
        stored = [entry.event.id for entry in sorted(ears.entries, key=lambda entry: entry.position)]
        assert ears.ids == stored == sent


async def test_without_watched_tenants_nothing_is_published(make_store: MakeStore) -> None:
    store, ears = make_store(), Ears("acme")
    store.listen(ears)
    async with store.lifespan():
        store.watch("acme")
        await store.replay("acme", StreamFilter(), None)
        first = await emit(store)
        await eventually(lambda: ears.ids == [first.id])
        store.unwatch("acme")
        missed = await emit(store)
        store.watch("acme")
        replay = await store.replay("acme", StreamFilter(), first.id)
        assert await replayed(replay) == [missed.id]


async def test_a_replay_has_the_events_after_an_event_and_covers_them(make_store: MakeStore) -> None:
    store, ears = make_store(), Ears("acme")
    store.listen(ears)
    async with store.lifespan():
        before = [await emit(store, type=type) for type in ("a.b", "c.d", "a.b")]
        await emit(store, "globex")
        store.watch("acme")
        replay = await store.replay("acme", StreamFilter(), before[0].id)
        after = await emit(store)
        assert replay.gap is None
        assert await replayed(replay) == [before[1].id, before[2].id]
        filtered = await store.replay("acme", StreamFilter(frozenset({"c.d"})), before[0].id)
        assert await replayed(filtered) == [before[1].id]
        await eventually(lambda: after.id in ears.ids)
        assert [entry.event.id for entry in ears.entries if not replay.covers(entry)] == [after.id]


async def test_a_replay_continues_after_a_position(make_store: MakeStore) -> None:
    store, ears = make_store(), Ears("acme")
    store.listen(ears)
    async with store.lifespan():
        store.watch("acme")
        await store.replay("acme", StreamFilter(), None)
        sent = [(await emit(store)).id for _ in range(5)]
        await eventually(lambda: ears.ids == sent)
        replay = await store.replay("acme", StreamFilter(), ears.entries[1].position)
        assert await replayed(replay) == sent[2:]


async def test_a_replay_from_now_on_is_empty_and_knows_the_last_event(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await emit(store)
        last = await emit(store)
        store.watch("acme")
        replay = await store.replay("acme", StreamFilter(), None)
        assert await replayed(replay) == []
        assert (replay.gap, replay.last_id) == (None, last.id)
        sent = await emit(store)
        assert await replayed(await store.replay("acme", StreamFilter(), replay.position)) == [sent.id]


async def test_a_replay_after_a_missing_event_has_a_gap(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        foreign = await emit(store, "globex")
        sent = await emit(store)
        store.watch("acme")
        for requested in (MISSING_EVENT, foreign.id):
            replay = await store.replay("acme", StreamFilter(), requested)
            assert replay.gap is not None
            assert (replay.gap.requested, replay.gap.oldest) == (requested, sent.id)


async def test_a_replay_after_a_lost_event_has_the_events_that_were_minted_later(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        old = await emit(store)
        lost = mint("msg_")
        sent = [await emit(store) for _ in range(3)]
        store.watch("acme")
        replay = await store.replay("acme", StreamFilter(), lost)
        assert replay.gap is not None
        assert (replay.gap.requested, replay.gap.oldest) == (lost, old.id)
        assert await replayed(replay) == [one.id for one in sent]


async def test_a_replay_after_an_event_from_the_future_is_empty_and_knows_the_last_event(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        sent = [await emit(store) for _ in range(3)]
        future = mint("msg_", 4_000_000_000_000)
        store.watch("acme")
        replay = await store.replay("acme", StreamFilter(), future)
        assert replay.gap is not None
        assert (replay.gap.requested, replay.gap.oldest) == (future, sent[0].id)
        assert await replayed(replay) == []
        assert replay.last_id == sent[2].id


async def test_a_long_replay_comes_in_pages(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        first = await emit(store)
        sent = await store.submit([event(data={"n": n}) for n in range(1200)]).wait()
        store.watch("acme")
        replay = await store.replay("acme", StreamFilter(), first.id)
        pages = [[one.id for one in page] async for page in replay.pages()]
        assert len(pages) > 1
        assert [id for page in pages for id in page] == [one.id for one in sent]


# What was removed


async def resumed(store: Store, after: str, tenant: str = "acme") -> tuple[bool, list[str]]:
    """Return whether a stream that resumes after an id gets a gap, and the events that it gets."""
    replay = await store.replay(tenant, StreamFilter(), after)
    return replay.gap is not None, await replayed(replay)


async def test_the_position_before_the_first_event_has_no_gap_until_something_is_removed(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        store.watch("acme")
        start = await store.position("acme")
        assert await resumed(store, start) == (False, [])
        await store.prune(moment(store, MINUTE))
        gone = await emit(store)
        await emit(store, "globex")
        assert await resumed(store, start) == (False, [gone.id])
        await store.prune(moment(store, MINUTE))
        kept = await emit(store)
        assert await resumed(store, start) == (True, [kept.id])
        store.watch("initech")
        assert await resumed(store, start, "initech") == (False, [])


async def test_the_last_event_is_a_position_even_after_it_was_removed(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        store.watch("acme")
        first, last = await emit(store), await emit(store)
        assert await store.position("acme") == last.id
        await store.prune(moment(store, MINUTE))
        assert await store.position("acme") == last.id
        assert await resumed(store, last.id) == (False, [])
        assert await resumed(store, first.id) == (True, [])
        kept = await emit(store)
        assert await resumed(store, last.id) == (False, [kept.id])
        assert await resumed(store, first.id) == (True, [kept.id])


async def test_an_event_that_is_stored_for_longer_than_later_ones_is_followed_by_a_gap(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        store.watch("acme")
        endpoint = await add(store, event_types=("invoice.paid",))
        pending, gone = await emit(store), await emit(store, type="a.b")
        await store.prune(moment(store, MINUTE))
        assert await ids(store) == [pending.id]
        assert await resumed(store, pending.id) == (True, [])
        assert await store.position("acme") == gone.id
        kept = await emit(store, type="a.b")
        assert await resumed(store, gone.id) == (False, [kept.id])
        assert await resumed(store, kept.id) == (False, [])
        await store.delete_endpoint("acme", endpoint.id)
        await store.prune(moment(store, MINUTE))
        assert await store.position("acme") == kept.id
        assert await resumed(store, pending.id) == (True, [])


async def test_a_time_is_a_gap_if_a_later_event_was_removed(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        store.watch("acme")
        before, after = (first_id("msg_", store.now() + seconds * 1000) for seconds in (-5, 5))
        kept = await emit(store)
        assert await resumed(store, before) == (False, [kept.id])
        await store.prune(moment(store, MINUTE))
        assert await resumed(store, before) == (True, [])
        assert await resumed(store, after) == (False, [])


async def test_a_position_that_another_backend_gave_is_a_gap(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        kept = await emit(store)
        store.watch("acme")
        # Svix may have had events that came after it.
        position = position_id(store.now() - 1000)
        assert await resumed(store, position) == (True, [kept.id])


async def test_what_was_erased_is_a_gap_for_its_tenant_only(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        store.watch("acme")
        store.watch("globex")
        start = await store.position("acme")
        gone, foreign = await emit(store), await emit(store, "globex")
        await store.erase("acme")
        assert await resumed(store, start) == (True, [])
        assert await resumed(store, gone.id) == (False, [])
        assert await resumed(store, start, "globex") == (False, [foreign.id])


async def test_a_stream_that_fell_behind_ends_if_what_it_missed_was_removed(make_store: MakeStore) -> None:
    store, ears = make_store(), Ears("acme")
    store.listen(ears)
    async with store.lifespan():
        store.watch("acme")
        begun = await store.replay("acme", StreamFilter(), None)
        sent = [(await emit(store)).id for _ in range(3)]
        await eventually(lambda: ears.ids == sent)
        await store.prune(moment(store, MINUTE))
        missed = await store.replay("acme", StreamFilter(), begun.position)
        with pytest.raises(BackendUnavailable, match="were removed"):
            await replayed(missed)
        # Another one has all of them.
        later = await store.replay("acme", StreamFilter(), ears.entries[-1].position)
        assert await replayed(later) == []
        again = await store.replay("acme", StreamFilter(), None)
        assert again.position == later.position == ears.entries[-1].position


async def test_events_from_while_the_clock_was_ahead_do_not_keep_later_ones(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        ahead = datetime.now(UTC) + timedelta(days=400)
        kept = replace(event(), id=mint("msg_", int(ahead.timestamp() * 1000)), timestamp=ahead)
        await store.submit([kept]).wait()
        await store.submit([event(data={"n": n}) for n in range(250)]).wait()
        await store.prune(moment(store, MINUTE))
        assert await ids(store) == [kept.id]


async def test_events_of_several_processes_that_remove_them_are_noted_together(make_shared_store: MakeStore) -> None:
    async with running(make_shared_store) as one, running(make_shared_store) as other:
        one.watch("acme")
        start = await one.position("acme")
        for number in range(3):
            await one.submit([event(data={"n": n}) for n in range(100)]).wait()
            async with anyio.create_task_group() as tasks:
                for store in (one, other):
                    tasks.start_soon(store.prune, moment(store, MINUTE))
            last = await other.position("acme")
            assert await ids(one) == []
            assert await resumed(one, last) == (False, [])
            assert await resumed(one, start) == (True, []), number


async def test_a_replay_whose_next_events_are_removed_ends_with_an_error(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        store.watch("acme")
        start = await store.position("acme")
        sent = await store.submit([event(data={"n": n}) for n in range(1200)]).wait()
        whole, cut = [await store.replay("acme", StreamFilter(), start) for _ in range(2)]
        assert await replayed(whole) == [one.id for one in sent]
        pages = cut.pages()
        got = [one.id for one in await anext(pages)]
        await store.prune(moment(store, MINUTE))
        with pytest.raises(BackendUnavailable, match="were removed"):
            await anext(pages)
        # The reader resumes after what it has got, and is told.
        assert await resumed(store, got[-1]) == (True, [])


# Endpoints


async def test_an_endpoint_is_created_changed_and_deleted(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        made = await add(
            store,
            description="mine",
            event_types=("invoice.paid",),
            channels=("eu",),
            rate_limit=7,
            metadata={"team": "billing"},
            headers={"X-Größe": "ä"},
        )
        assert await store.get_endpoint("acme", made.id) == made
        assert (made.rate_limit, made.headers, made.disabled) == (7, {"X-Größe": "ä"}, False)
        changed = await store.update_endpoint("acme", made.id, EndpointChanges(rate_limit=None, disabled=True))
        assert changed == await store.get_endpoint("acme", made.id)
        assert changed is not None
        assert (changed.rate_limit, changed.disabled_reason, changed.description) == (None, "manual", "mine")
        assert await store.delete_endpoint("acme", made.id)
        assert await store.get_endpoint("acme", made.id) is None
        assert not await store.delete_endpoint("acme", made.id)


async def test_endpoints_are_listed_newest_first_up_to_the_limit(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        made = [(await add(store)).id for _ in range(4)]
        await add(store, "globex")
        first = await store.list_endpoints("acme", limit=3, cursor=None)
        rest = await store.list_endpoints("acme", limit=3, cursor=first.next_cursor)
        assert [one.id for one in [*first.items, *rest.items]] == made[::-1]
        assert (first.done, rest.done, rest.next_cursor) == (False, True, None)
        with pytest.raises(Conflict) as info:
            await store.create_endpoint("acme", EndpointChanges(url=URL), limit=4)
        assert info.value.code == "endpoint_limit"


async def test_a_secret_is_kept_given_and_rotated(make_store: MakeStore, clock: Clock) -> None:
    async with running(make_store) as store:
        given = await add(store, secret=KEY)
        assert await store.get_secret("acme", given.id) == KEY
        with pytest.raises(Conflict) as same:
            await store.rotate_secret("acme", given.id, KEY)
        assert same.value.code == "same_secret"
        for n in range(9):
            assert await store.rotate_secret("acme", given.id, f"whsec_{n}") == f"whsec_{n}"
        with pytest.raises(Conflict) as many:
            await store.rotate_secret("acme", given.id, "whsec_10")
        assert many.value.code == "too_many_secrets"
        assert await store.get_secret("acme", given.id) == "whsec_8"
        clock.advance(ms=DAY + 1)
        assert await store.rotate_secret("acme", given.id, "whsec_10") == "whsec_10"


async def test_a_tenant_cannot_see_or_change_objects_of_another(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        sent, endpoint = await emit(store), await add(store)
        assert await store.get_endpoint("globex", endpoint.id) is None
        assert await store.endpoint_number("globex", endpoint.id) is None
        assert (await store.list_endpoints("globex", limit=10, cursor=None)).items == []
        assert await store.update_endpoint("globex", endpoint.id, EndpointChanges(description="x")) is None
        assert await store.get_secret("globex", endpoint.id) is None
        assert await store.rotate_secret("globex", endpoint.id, KEY) is None
        assert not await store.delete_endpoint("globex", endpoint.id)
        assert not await store.resend("globex", sent.id, endpoint.id)
        window = RecoverWindow(moment(store, -MINUTE), None, missing=True)
        assert await store.recover("globex", endpoint.id, window, None) is None
        assert await store.endpoint_stats("globex", endpoint.id, moment(store, -MINUTE), moment(store)) is None
        await store.erase("globex")
        assert await store.get_endpoint("acme", endpoint.id) == endpoint
        assert await ids(store) == [sent.id]


async def test_concurrent_creations_of_a_tenant_respect_the_limit(make_shared_store: MakeStore) -> None:
    async with running(make_shared_store) as store, running(make_shared_store) as other:
        refused = 0

        async def create(one: Store) -> None:
            nonlocal refused
            try:
                await one.create_endpoint("acme", EndpointChanges(url=URL), limit=3)
            except Conflict:
                refused += 1

        async with anyio.create_task_group() as tasks:
            for n in range(12):
                tasks.start_soon(create, store if n % 2 else other)
        assert refused == 9
        assert len((await store.list_endpoints("acme", limit=10, cursor=None)).items) == 3


# Shared values, retention and erasure


async def test_a_value_is_the_same_for_all_processes(make_shared_store: MakeStore) -> None:
    async with running(make_shared_store) as store, running(make_shared_store) as other:
        assert await store.read_meta("secret_key", b"\x00first") == b"\x00first"
        assert await other.read_meta("secret_key", b"second") == b"\x00first"
        assert await other.read_meta("else", b"second") == b"second"


async def test_pruning_removes_old_events_with_everything_that_depends_on_them(
    make_store: MakeStore, clock: Clock
) -> None:
    async with running(make_store) as store:
        await add(store, channels=("eu",))
        old = await emit(store, channels=["eu"])
        await attempt(store)
        await store.prune(moment(store, -DAY))
        assert await ids(store) == [old.id]
        await store.prune(moment(store, MINUTE))
        assert await ids(store) == await ids(store, channel="eu") == []
        assert await attempts(store) == []


async def test_pruning_leaves_what_is_still_to_be_delivered_unless_its_endpoint_is_disabled(
    make_store: MakeStore,
) -> None:
    async with running(make_store) as store:
        endpoint = await add(store, event_types=("a.b",))
        kept, _ = await emit(store, type="a.b"), await emit(store, type="c.d")
        await store.prune(moment(store, MINUTE))
        assert await ids(store) == [kept.id]
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=True))
        await store.prune(moment(store, MINUTE))
        assert await ids(store) == []
        await store.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=False))
        assert await due(store) == {}


async def test_pruning_reaches_every_old_event_and_no_new_one(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        await store.submit([event() for _ in range(450)]).wait()
        border = moment(store, 1)
        await anyio.sleep(0.01)
        new = await emit(store)
        await store.prune(border)
        assert await ids(store, limit=250) == [new.id]


async def test_erasing_a_tenant_leaves_nothing_of_it_and_everything_of_others(make_store: MakeStore) -> None:
    async with running(make_store) as store:
        endpoint = await add(store)
        await emit(store, channels=["eu"])
        delivery = await attempt(store, 500, next_due=store.now() + MINUTE)
        other, sent = await add(store, "globex"), await emit(store, "globex")
        await store.erase("acme")
        assert await ids(store) == await ids(store, channel="eu") == []
        assert await attempts(store) == []
        assert await store.get_endpoint("acme", endpoint.id) is None
        assert await store.record(outcome(store, delivery), disable_after=0) is None, "it came too late"
        assert await attempts(store) == []
        assert await ids(store, "globex") == [sent.id]
        assert await store.get_endpoint("globex", other.id) == other


def test_its_health_is_json(make_store: MakeStore) -> None:
    store = make_store()
    assert json.loads(json.dumps(dict(store.health()))) == dict(store.health())
