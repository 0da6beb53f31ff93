"""The memory of streams: what is dropped first, and who is woken."""

from __future__ import annotations

from collections import Counter

import anyio

from starlette_webhooks.feed import Entry
from starlette_webhooks.streams.buffer import Buffer
from starlette_webhooks.streams.feeds import Feeds
from starlette_webhooks.streams.frames import Frame
from starlette_webhooks.streams.heartbeats import Heartbeats
from starlette_webhooks.streams.views import History, TenantFeed, View
from starlette_webhooks.streams.wakes import Wakes
from starlette_webhooks.waiting import running_loop
from tests.streams.feed import ALL, TENANT, Log, make_event, settle


def fill(buffer: Buffer, view: View, count: int, *, first: int = 1) -> None:
    for position in range(first, first + count):
        buffer.append(view, Frame(Entry(position, make_event(position))))


def test_after_thousands_of_frames_were_cleared_the_oldest_of_the_others_are_still_dropped_first() -> None:
    frame = Frame(Entry(1, make_event(1000))).size
    buffer = Buffer(1400 * frame)
    cleared, other, kept = (View(TenantFeed(tenant), ALL) for tenant in ("acme", "globex", "initech"))
    fill(buffer, cleared, 600, first=1000)
    fill(buffer, kept, 50, first=1000)
    buffer.clear(cleared)
    fill(buffer, cleared, 10, first=2000)
    fill(buffer, other, 600, first=1000)
    buffer.clear(other)
    assert buffer.size == 60 * frame
    # As many as fit beside 30 of the oldest.
    fill(buffer, other, 1370, first=3000)
    assert buffer.size == 1400 * frame
    assert (len(kept.frames), len(cleared.frames), len(other.frames)) == (20, 10, 1370)
    assert (kept.base, kept.end) == (30, 50)
    fill(buffer, other, 1400, first=5000)
    assert (len(kept.frames), len(cleared.frames), len(other.frames)) == (0, 0, 1400)
    assert buffer.size == 1400 * frame


def test_frames_of_a_cleared_view_are_dropped_once() -> None:
    frame = Frame(Entry(1, make_event(1000))).size
    buffer = Buffer(20 * frame)
    cleared, kept = (View(TenantFeed(tenant), ALL) for tenant in ("acme", "globex"))
    fill(buffer, cleared, 10, first=1000)
    fill(buffer, kept, 10, first=1000)
    buffer.clear(cleared)
    fill(buffer, kept, 15, first=2000)
    assert (len(kept.frames), kept.base, buffer.size) == (20, 5, 20 * frame)


def history(count: int, made: float) -> History:
    return History("msg_1", 0, None, [(f"msg_{number}", b"x" * 300) for number in range(count)], made=made)


def test_replays_use_a_quarter_of_the_memory_at_most_and_the_oldest_is_forgotten_first() -> None:
    one = history(9, 1.0)
    buffer = Buffer(4 * 2 * one.size)
    views = [View(TenantFeed(tenant), ALL) for tenant in ("acme", "globex", "initech")]
    for view, made in zip(views, (1.0, 2.0, 3.0), strict=True):
        buffer.remember(view, history(9, made))
    assert [view.history is not None for view in views] == [False, True, True]
    assert buffer.history_size == 2 * one.size
    buffer.remember(views[1], history(100, 4.0))
    assert views[1].history is None, "it is too large"
    buffer.expire(3.0)
    assert views[2].history is not None
    buffer.expire(3.1)
    assert not any(view.history for view in views)
    assert buffer.history_size == 0


def test_no_more_than_250_streams_have_their_heartbeat_together() -> None:
    heartbeats: Heartbeats[int] = Heartbeats(2.0)
    slots = Counter(heartbeats.add(stream) for stream in range(252))
    assert sorted(slots.values()) == [1, 1, 250]


async def test_each_waiting_stream_is_woken_once_however_many_events_are_published() -> None:
    feeds = Feeds(Log(), Buffer(1_000_000))
    view = feeds.view(TENANT, ALL)
    waiter = running_loop().waiter()
    view.waiting[waiter] = None
    assert feeds.publish([Entry(position, make_event(position)) for position in range(1, 4)]) == [waiter]


class Sleeper:
    """A waiter that notes whether it was woken."""

    woken = False

    async def wait(self) -> None:
        raise AssertionError("Nobody waits.")

    def wake(self) -> None:
        self.woken = True


async def test_of_many_streams_the_first_are_woken_at_once_and_the_others_in_later_turns() -> None:
    wakes = Wakes(running_loop().waiter(), 2)
    sleepers = [Sleeper() for _ in range(5)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wakes.run)
        await settle()
        wakes.add(sleepers)
        assert [one.woken for one in sleepers] == [True, True, False, False, False]
        await settle()
        assert all(one.woken for one in sleepers)
        tasks.cancel_scope.cancel()
