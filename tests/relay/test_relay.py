"""The relay forwards waiting events in order, retries after failures, and skips events that are always refused."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from starlette_webhooks.events import Event
from starlette_webhooks.relay.forward import ForwardingFailed, ForwardingRefused
from starlette_webhooks.relay.outbox import EntryState, OutboxStore
from starlette_webhooks.stores.outboxes import outbox_of
from tests.clock import Clock, VirtualTime
from tests.eventually import eventually
from tests.relay.target import Target, make, relaying
from tests.settings import make_settings


@pytest.fixture
def clock() -> Clock:
    """The time of day of the outbox."""
    return Clock()


@pytest.fixture
def outbox(tmp_path: Path, clock: Clock) -> OutboxStore:
    """An outbox in a file."""
    return outbox_of(make_settings(tmp_path), clock)


@pytest.fixture
def target() -> Target:
    """Where events are forwarded to."""
    return Target()


async def empty(outbox: OutboxStore) -> bool:
    return not await outbox.waits()


async def test_a_tenants_events_are_forwarded_one_by_one_in_the_order_of_commits(
    outbox: OutboxStore, target: Target
) -> None:
    async with relaying(outbox, target):
        for number in range(50):
            outbox.submit([make("a", number)])
        await outbox.committed()
        await eventually(lambda: empty(outbox))
    assert target.numbers("a") == list(range(50))
    assert target.most_at_once == 1


async def test_tenants_are_forwarded_side_by_side_up_to_the_limit(outbox: OutboxStore, target: Target) -> None:
    target.gate = anyio.Event()
    async with relaying(outbox, target, concurrency=3):
        for tenant in "abcdef":
            outbox.submit([make(tenant)])
        await eventually(lambda: target.running == 3)
        target.gate.set()
        await outbox.committed()
        await eventually(lambda: empty(outbox))
    assert target.most_at_once == 3


async def test_a_tenants_events_are_forwarded_several_at_a_time_where_order_does_not_matter(
    outbox: OutboxStore, target: Target
) -> None:
    target.gate = anyio.Event()
    async with relaying(outbox, target, concurrency=8, tenant_concurrency=4):
        for number in range(100):
            outbox.submit([make("a", number)])
        await eventually(lambda: target.running == 4)
        target.gate.set()
        await eventually(lambda: len(target.taken) == 100)
        await eventually(lambda: empty(outbox))
    assert sorted(target.numbers("a")) == list(range(100))
    assert target.most_at_once == 4


async def test_an_event_that_fails_is_retried_before_the_tenants_next_one(outbox: OutboxStore, target: Target) -> None:
    failures = iter(range(3))

    def fail(event: Event) -> None:
        if event.data["number"] == 1 and next(failures, None) is not None:
            raise ForwardingFailed("not now")

    target.on_event = fail
    virtual = VirtualTime()
    async with virtual.passing(), relaying(outbox, target, virtual.source()):
        for number in range(3):
            outbox.submit([make("a", number)])
        await outbox.committed()
        await eventually(lambda: empty(outbox))
    assert target.numbers("a") == [0, 1, 2]


async def test_only_failed_events_are_retried_if_several_are_forwarded_at_a_time(
    outbox: OutboxStore, target: Target
) -> None:
    failed: set[int] = set()

    def fail(event: Event) -> None:
        number = event.data["number"]
        if number % 5 == 0 and number not in failed:
            failed.add(number)
            raise ForwardingFailed("not now")

    target.on_event = fail
    virtual = VirtualTime()
    async with virtual.passing(), relaying(outbox, target, virtual.source(), tenant_concurrency=4, poll=1000.0):
        outbox.submit([make("a", number) for number in range(40)])
        await outbox.committed()
        await eventually(lambda: empty(outbox))
    assert sorted(target.numbers("a")) == list(range(40))
    # Others succeeded in between, so no failure was the second in a row.
    assert max(seconds for seconds in virtual.asked if seconds < 1000) <= 0.5


async def test_all_tenants_are_looked_for_once_and_then_only_those_with_new_events(
    outbox: OutboxStore, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    find = outbox.tenants

    async def tenants(after: int | None) -> tuple[Sequence[str], int]:
        asked.append(after)
        return await find(after)

    monkeypatch.setattr(outbox, "tenants", tenants)
    async with relaying(outbox, target, poll=0.001) as relay:
        await eventually(lambda: len(asked) >= 5)
        assert None not in asked[1:5]
        relay.wake(rescan=True)
        await eventually(lambda: asked.count(None) == 2)


async def test_a_refused_event_is_dead_lettered_and_forwarded_again_on_request(
    outbox: OutboxStore, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(event: Event) -> None:
        if event.data["number"] == 1:
            raise ForwardingRefused("no", code="too_large", detail="too large")

    target.on_event = refuse
    async with relaying(outbox, target) as relay:
        for number in range(3):
            outbox.submit([make("a", number)])
        await outbox.committed()
        await eventually(lambda: empty(outbox))
        assert target.numbers("a") == [0, 2]
        (letter,) = await outbox.dead_letters()
        assert letter.event is not None
        assert (letter.event.data, letter.code, letter.detail) == ({"number": 1}, "too_large", "too large")
        assert "too large" in caplog.text
        target.on_event = lambda event: None
        assert await outbox.redrive() == 1
        relay.wake(rescan=True)
        await eventually(lambda: empty(outbox))
    assert target.numbers("a") == [0, 2, 1]


async def test_a_general_failure_pauses_all_tenants_and_any_other_only_its_own(
    outbox: OutboxStore, target: Target
) -> None:
    everywhere = False

    def fail(event: Event) -> None:
        if event.tenant == "bad":
            raise ForwardingFailed("not now", everywhere=everywhere)

    target.on_event = fail
    async with relaying(outbox, target) as relay:
        outbox.submit([make("bad")])
        await eventually(lambda: relay.fails("bad"))
        assert not relay.stalled
        outbox.submit([make("good")])
        await eventually(lambda: len(target.taken) == 1)
        everywhere = True
        await eventually(lambda: relay.stalled)
        assert relay.fails("good")


async def test_a_pause_is_as_long_as_the_target_asks_even_with_a_thousand_tenants(
    outbox: OutboxStore, target: Target
) -> None:
    virtual = VirtualTime()
    down = iter(range(5))

    def fail(event: Event) -> None:
        if next(down, None) is not None:
            raise ForwardingFailed("down", everywhere=True, retry_after=300.0)

    target.on_event = fail
    async with virtual.passing(), relaying(outbox, target, virtual.source(), poll=1000.0):
        for number in range(1000):
            outbox.submit([make(f"tenant-{number}")])
        await outbox.committed()
        await eventually(lambda: empty(outbox), within=30)
    assert len(target.taken) == 1000
    # Eight were running when the first one failed.
    assert len(target.calls) <= 1000 + 8 + 5
    assert max(virtual.asked) >= 299


async def test_an_unexpected_error_of_the_target_is_logged_and_the_event_kept(
    outbox: OutboxStore, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([RuntimeError("can't start new thread"), MemoryError()])

    def fail(event: Event) -> None:
        error = next(failures, None)
        if error is not None:
            raise error

    target.on_event = fail
    with caplog.at_level(logging.ERROR):
        virtual = VirtualTime()
        async with virtual.passing(), relaying(outbox, target, virtual.source()) as relay:
            outbox.submit([make("a")])
            await outbox.committed()
            await eventually(lambda: empty(outbox))
            assert relay.error is None
    assert target.numbers("a") == [0]
    assert "can't start new thread" in caplog.text


async def test_the_event_id_of_an_accepted_event_returns_the_event_of_the_target(
    outbox: OutboxStore, target: Target
) -> None:
    async with relaying(outbox, target):
        event = make("a", 1)
        (first,) = await outbox.submit([event]).wait()
        assert first.id == ""
        await eventually(lambda: empty(outbox))
        entry = await outbox.find("a", event.event_id)
        assert entry is not None
        assert (entry.state, entry.event.id) == (EntryState.ACCEPTED, "target-1")
        (again,) = await outbox.submit([event]).wait()
        assert again == entry.event
    assert len(target.calls) == 1


async def test_of_two_relays_on_one_outbox_one_relays_and_the_other_takes_over(
    tmp_path: Path, clock: Clock, target: Target
) -> None:
    settings = make_settings(tmp_path)
    first, second = outbox_of(settings, clock), outbox_of(settings, clock)
    async with relaying(second, target) as other:
        await eventually(lambda: other.relaying)
        async with relaying(first, target) as waiting:
            for number in range(10):
                await first.submit([make("a", number)]).wait()
            await eventually(lambda: len(target.taken) == 10)
            assert not waiting.relaying
    async with relaying(outbox_of(settings, clock), target) as next_one:
        await eventually(lambda: next_one.relaying)
    assert target.numbers("a") == list(range(10))
