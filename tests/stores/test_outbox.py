"""The contract of `OutboxStore`. To add an outbox, add its name."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import NotRunning, QueueFull
from starlette_webhooks.payloads import new_event
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.relay.outbox import EntryState, OutboxEntry, OutboxStore
from starlette_webhooks.stores.outboxes import outbox_of
from tests.clock import Clock
from tests.settings import make_settings
from tests.stores.contract import DAY, MINUTE

MakeOutbox: TypeAlias = Callable[[], OutboxStore]


@pytest.fixture(params=["sqlite", "memory", "postgresql"])
def make_outbox(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> MakeOutbox:
    """Makes an outbox. All of them use the same database, like the processes of a host."""
    options: dict[str, Any] = {"retention_days": 30, "queue_events": 50}
    if request.param == "postgresql":
        options["database"] = request.getfixturevalue("postgresql_url")
        options["database_schema"] = request.getfixturevalue("migrated_schema")
    settings = make_settings(tmp_path if request.param == "sqlite" else None, **options)
    return lambda: outbox_of(settings, clock)


@asynccontextmanager
async def opened(make_outbox: MakeOutbox) -> AsyncGenerator[OutboxStore]:
    outbox = make_outbox()
    async with outbox.lifespan(lambda fresh: None):
        yield outbox


def make(tenant: str = "acme", number: int = 0, event_id: str | None = None, channels: Sequence[str] = ()) -> Event:
    return new_event("invoice.paid", {"n": number}, tenant=tenant, event_id=event_id, channels=channels, mint_id=False)


async def put(outbox: OutboxStore, *events: Event) -> Sequence[Event]:
    return await outbox.submit(events).wait()


async def first(outbox: OutboxStore, tenant: str = "acme") -> OutboxEntry:
    return (await outbox.next(tenant, 1))[0]


async def accept(outbox: OutboxStore, entry: OutboxEntry, check_at: float | None = None) -> Event:
    accepted = replace(entry.event, id=f"msg_{entry.seq}")
    await (await outbox.accept(entry, accepted, check_at=check_at)).wait()
    return accepted


async def test_events_wait_in_the_order_of_commits_as_they_were_submitted(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        events = [make(number=number, channels=["eu"]) for number in range(5)]
        for event in events:
            await put(outbox, event)
        await put(outbox, make("globex"))
        entries = await outbox.next("acme", 10)
        assert [entry.event for entry in entries] == events
        assert [entry.seq for entry in entries] == sorted(entry.seq for entry in entries)
        assert len(await outbox.next("acme", 2)) == 2
        assert await outbox.next("initech", 10) == []


async def test_an_event_id_that_comes_again_gives_the_first_event_of_that_tenant(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        (one,) = await put(outbox, make(number=1, event_id="order-1"))
        again = await put(outbox, make(number=2, event_id="order-1"), make("globex", 3, event_id="order-1"))
        assert [event.data["n"] for event in again] == [1, 3]
        assert [entry.event for entry in await outbox.next("acme", 10)] == [one]


async def test_tenants_with_events_are_found_from_a_position_on(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        assert await outbox.tenants(None) == ([], 0)
        await put(outbox, make("acme"), make("globex"))
        tenants, position = await outbox.tenants(None)
        assert sorted(tenants) == ["acme", "globex"]
        assert await outbox.tenants(position) == ([], position)
        await put(outbox, make("initech"))
        assert (await outbox.tenants(position))[0] == ["initech"]
        assert sorted((await outbox.tenants(None))[0]) == ["acme", "globex", "initech"]


async def test_an_accepted_event_no_longer_waits_and_is_returned_for_its_event_id(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        await put(outbox, make(event_id="order-1"))
        assert await outbox.waits("acme")
        accepted = await accept(outbox, await first(outbox))
        assert not await outbox.waits("acme")
        assert not await outbox.waits()
        found = await outbox.find("acme", "order-1")
        assert found is not None
        assert (found.state, found.event) == (EntryState.ACCEPTED, accepted)
        assert await put(outbox, make(number=2, event_id="order-1")) == [accepted]
        assert await outbox.find("globex", "order-1") is None


async def test_an_event_that_never_waited_is_recorded(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        sent = replace(make(event_id="order-1"), id="msg_1")
        await outbox.record(sent, check_at=None)
        assert await put(outbox, make(number=2, event_id="order-1")) == [sent]
        assert not await outbox.waits()


async def test_dead_letters_are_kept_and_redriven(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        for tenant in ("acme", "globex"):
            await put(outbox, make(tenant))
            await (await outbox.dead_letter(await first(outbox, tenant), "too_large", "It is too large.")).wait()
        assert not await outbox.waits()
        letters = await outbox.dead_letters()
        assert [(letter.tenant, letter.event is not None) for letter in letters] == [("acme", True), ("globex", True)]
        assert {(letter.code, letter.detail) for letter in letters} == {("too_large", "It is too large.")}
        assert (await outbox.counts()).dead_lettered == 2
        assert list(await outbox.dead_letters(limit=1)) == list(letters[:1])
        assert list(await outbox.dead_letters(tenant="globex")) == list(letters[1:])
        assert await outbox.redrive("acme", ids=[letters[1].id]) == 0
        assert await outbox.redrive("acme") == 1
        assert await outbox.waits("acme")
        assert not await outbox.waits("globex")
        assert await outbox.redrive(ids=["msg_of_another_outbox", letters[1].id]) == 1
        assert await outbox.dead_letters() == []


async def test_dead_letters_are_discarded_by_id(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        for _ in range(3):
            await put(outbox, make())
            await (await outbox.dead_letter(await first(outbox, "acme"), "too_large", "")).wait()
        ids = [letter.id for letter in await outbox.dead_letters()]
        assert await outbox.discard([]) == 0
        assert await outbox.discard([ids[1], "msg_of_another_outbox"]) == 1
        assert [letter.id for letter in await outbox.dead_letters()] == [ids[0], ids[2]]
        assert await outbox.redrive() == 2
        # What waits is no dead letter.
        assert await outbox.discard(ids) == 0


async def test_waiting_events_are_counted_with_the_time_of_the_oldest(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        assert await outbox.counts() == await outbox.counts()
        assert (await outbox.counts()).oldest is None
        event, _ = await put(outbox, make(), make())
        counts = await outbox.counts()
        assert (counts.waiting, counts.dead_lettered) == (2, 0)
        assert counts.oldest == event.timestamp.timestamp()


async def test_an_event_in_doubt_is_checked_at_its_time_and_not_again(make_outbox: MakeOutbox, clock: Clock) -> None:
    async with opened(make_outbox) as outbox:
        await put(outbox, make())
        await accept(outbox, await first(outbox), check_at=clock() + 60)
        assert await outbox.in_doubt() == []
        clock.advance(ms=MINUTE + 1000)
        (entry,) = await outbox.in_doubt()
        await outbox.resolve(entry, clock() + 60)
        assert await outbox.in_doubt() == []
        clock.advance(ms=MINUTE + 1000)
        (entry,) = await outbox.in_doubt()
        await outbox.resolve(entry)
        clock.advance(ms=DAY)
        assert await outbox.in_doubt() == []


async def test_a_clock_that_is_set_back_does_not_put_off_a_check(make_outbox: MakeOutbox, clock: Clock) -> None:
    async with opened(make_outbox) as outbox:
        await put(outbox, make())
        await accept(outbox, await first(outbox), check_at=clock() + 60)
        clock.set_by(ms=-DAY)
        assert len(await outbox.in_doubt()) == 1


async def test_accepted_events_are_forgotten_in_time_and_no_others(make_outbox: MakeOutbox, clock: Clock) -> None:
    async with opened(make_outbox) as outbox:
        minted = make(number=1)
        await put(outbox, minted, make(number=2, event_id="order-2"), make("globex", 3, event_id="order-3"))
        for entry in await outbox.next("acme", 10):
            await accept(outbox, entry)
        assert not await outbox.prune()
        # Only we mint such an id, so a day is enough.
        clock.advance(ms=2 * DAY)
        assert await outbox.prune()
        assert await outbox.find("acme", minted.event_id) is None
        assert await outbox.find("acme", "order-2") is not None
        clock.advance(ms=31 * DAY)
        assert await outbox.prune()
        assert await outbox.find("acme", "order-2") is None
        assert await outbox.find("globex", "order-3") is not None
        assert not await outbox.prune()


async def test_a_tenant_is_erased_and_no_other(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        await put(outbox, make(event_id="order-1"), make("globex", event_id="order-1"))
        await outbox.erase("acme")
        assert await outbox.find("acme", "order-1") is None
        assert not await outbox.waits("acme")
        assert await outbox.waits("globex")


async def test_event_types_of_this_host_are_remembered(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        assert await outbox.owned_event_types() == []
        await outbox.own_event_types(["b", "a"])
        await outbox.own_event_types(["a"])
        assert sorted(await outbox.owned_event_types()) == ["a", "b"]
        await outbox.disown_event_type("b")
        assert await outbox.owned_event_types() == ["a"]


async def test_a_shared_value_is_the_first_one_stored(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        assert await outbox.read_meta("secret_key", b"first") == b"first"
        assert await outbox.read_meta("secret_key", b"second") == b"first"
        await outbox.write_meta("secret_key", b"third")
        assert await outbox.find_meta(["secret_key", "missing"]) == {"secret_key": b"third"}


async def test_submitted_events_outlive_the_process_if_the_outbox_is_shared(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        await put(outbox, make())
        shared = outbox.shared
    async with opened(make_outbox) as outbox:
        assert await outbox.waits() is shared


async def test_a_commit_is_reported_with_whether_it_brought_new_events(make_outbox: MakeOutbox) -> None:
    reported: list[bool] = []
    outbox = make_outbox()
    async with outbox.lifespan(reported.append):
        reported.clear()
        await put(outbox, make(event_id="order-1"))
        await put(outbox, make(event_id="order-1"))
        await accept(outbox, await first(outbox))
        assert reported == [True, False, False]
    again: list[bool] = []
    async with outbox.lifespan(again.append):
        await put(outbox, make(event_id="order-2"))
    assert again[-1:] == [True]
    assert reported == [True, False, False], "it ended with its lifespan"


async def test_a_full_queue_refuses_events_but_not_records(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        await put(outbox, make())
        with pytest.raises(QueueFull):
            for number in range(1000):
                outbox.submit([make(number=number)])
        await accept(outbox, await first(outbox))
        await outbox.committed()


async def test_the_lock_is_held_by_one_at_a_time(make_outbox: MakeOutbox) -> None:
    async with opened(make_outbox) as outbox:
        lock = outbox.lock(TimeSource())
        assert not lock.held
        await lock.acquire()
        assert lock.held
        await lock.release()
        assert not lock.held
        await lock.acquire()
        assert lock.held


async def test_outside_its_lifespan_every_call_is_refused(make_outbox: MakeOutbox) -> None:
    outbox = make_outbox()
    with pytest.raises(NotRunning):
        outbox.submit([make()])
    with pytest.raises(NotRunning):
        await outbox.next("acme", 1)
    with pytest.raises(NotRunning):
        await outbox.redrive()
