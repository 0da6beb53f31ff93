"""How slots are shared out, and who waits for one."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given, strategies as st

from starlette_webhooks.delivery.limits import Ask, Lane, Limits, Ready, Room, share
from tests.stores.sqlite.queueing import NOW


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Lane)), st.integers(0, 8), st.integers(0, 4), st.sampled_from("abc")),
        max_size=30,
    ),
    st.integers(0, 40),
    st.integers(0, 10),
    st.integers(0, 20),
)
def test_no_bound_is_broken_and_no_slot_left_unused(
    wants: list[tuple[Lane, int, int, str]], free: int, reserve: int, slow: int
) -> None:
    asks = [Ask(place, lane, room, load, tenant) for place, (lane, room, load, tenant) in enumerate(wants)]
    shares = share(asks, Room(free, reserve, slow), {})
    by_lane = {lane: sum(shares.get(ask.endpoint, 0) for ask in asks if ask.lane is lane) for lane in Lane}
    assert all(1 <= shares[ask.endpoint] <= ask.room for ask in asks if ask.endpoint in shares)
    used = sum(by_lane.values())
    assert used <= free
    assert by_lane[Lane.SLOW] <= slow
    assert by_lane[Lane.SLOW] + by_lane[Lane.NEW] <= max(free - reserve, 0)
    proven = sum(ask.room for ask in asks if ask.lane is Lane.PROVEN)
    assert by_lane[Lane.PROVEN] == proven or used == free
    if proven == 0 and by_lane[Lane.SLOW] < min(slow, sum(ask.room for ask in asks if ask.lane is Lane.SLOW)):
        assert used == max(free - reserve, 0)


def test_success_doubles_what_an_endpoint_gets_and_failure_takes_it_back() -> None:
    limits = Limits(concurrency=100, per_endpoint=6)
    for expected in (1, 2, 4, 6, 6):
        assert limits.ask(1).room == expected
        limits.learn(1, 0, ok=True, slow=False, throttled=False)
    assert limits.lane(1) is Lane.PROVEN
    limits.learn(1, 0, ok=False, slow=False, throttled=True)
    assert (limits.ask(1).room, limits.lane(1)) == (3, Lane.SLOW)
    limits.learn(1, 0, ok=False, slow=False, throttled=False)
    assert limits.ask(1).room == 1
    limits.learn(1, 0, ok=True, slow=True, throttled=False)
    assert limits.lane(1) is Lane.SLOW


def test_attempts_that_fail_together_pause_an_endpoint_once_and_a_success_ends_the_pause() -> None:
    limits = Limits(concurrency=100, per_endpoint=6, random=lambda: 0.5)
    for _ in range(6):
        limits.learn(1, NOW, ok=False, slow=False, throttled=False)
    assert limits.paused_until(1) == NOW + 100
    limits.learn(1, NOW + 100, ok=False, slow=False, throttled=True)
    assert limits.paused_until(1) == NOW + 300
    limits.learn(1, NOW + 101, ok=True, slow=False, throttled=False)
    assert limits.paused_until(1) == 0
    limits.learn(1, NOW + 102, ok=False, slow=False, throttled=False)
    assert limits.paused_until(1) == NOW + 102, "a first failure pauses nothing"
    limits.learn(1, NOW + 103, ok=False, slow=False, throttled=False)
    assert limits.paused_until(1) == NOW + 203, "it begins anew"
    limits.resume(1)
    assert limits.paused_until(1) == 0
    assert limits.paused_until(2) == 0


def test_what_is_known_of_endpoints_is_bounded() -> None:
    limits = Limits(concurrency=2, per_endpoint=1)
    limits.started(0, "acme", 0)
    for endpoint in range(1, 20_000):
        limits.learn(endpoint, 0, ok=True, slow=False, throttled=False)
    assert len(limits._states) == 10_000
    assert limits.ask(0).room == 0, "what is under way is not forgotten"
    assert limits.lane(1) is Lane.NEW


def test_busy_endpoints_wait_aside_until_an_attempt_of_theirs_is_over() -> None:
    limits = Limits(concurrency=4, per_endpoint=1)
    ready = Ready(limits)
    lane = limits.started(1, "acme", 0)
    for endpoint in (1, 2, 2):
        ready.add(endpoint)
    assert [ask.endpoint for ask in ready.take(0)] == [2]
    assert ready.take(0) == []
    assert len(ready) == 1
    limits.finished(1, "acme", lane)
    ready.finished(1)
    assert [ask.endpoint for ask in ready.take(0)] == [1]
    assert len(ready) == 0


def test_endpoints_that_fail_begin_a_few_at_a_time_and_those_that_work_do_not_wait_for_them() -> None:
    limits = Limits(concurrency=80, per_endpoint=1)
    ready = Ready(limits)
    assert ready.slow_from() == math.inf, "nobody waits"
    for endpoint in range(8):
        limits.learn(endpoint, 0, ok=False, slow=False, throttled=False)
        ready.add(endpoint)
    assert ready.slow_from() == 0
    assert limits.room(0).of(Lane.SLOW) == 5, "an eighth of the slots they may have"
    for endpoint in range(5):
        ready.remove(endpoint)
        limits.started(endpoint, "acme", 0)
    assert limits.room(0.019).of(Lane.SLOW) == 0
    assert limits.room(0.019).of(Lane.PROVEN) == 75
    assert ready.take(0.019) == []
    assert ready.slow_from() == 0.02
    assert [ask.endpoint for ask in ready.take(0.02)] == [5, 6, 7]


@pytest.mark.parametrize("seconds", [(3, 3), (15, 15), (2.5, 4)])
@pytest.mark.parametrize(("concurrency", "endpoints"), [(16, 34), (16, 100), (128, 300)])
def test_each_of_many_slow_endpoints_has_its_turn(
    concurrency: int, endpoints: int, seconds: tuple[float, float]
) -> None:
    limits = Limits(concurrency, per_endpoint=1)
    ready = Ready(limits)
    for endpoint in range(endpoints):
        limits.learn(endpoint, 0, ok=True, slow=True, throttled=False)
        ready.add(endpoint)
    random = Random(1)
    turns = Counter(dict.fromkeys(range(endpoints), 0))
    ends: list[tuple[float, int]] = []
    now = 0.0
    while now < 40 * endpoints / concurrency * seconds[1]:
        while asks := ready.take(now):
            shares = share(asks, limits.room(now), limits.tenants)
            ready.put_back([ask.endpoint for ask in asks if ask.endpoint not in shares])
            now += 0.002
            for endpoint in shares:
                limits.started(endpoint, "acme", now)
                turns[endpoint] += 1
                heapq.heappush(ends, (now + random.uniform(*seconds), endpoint))
                ready.add(endpoint)
        now = min(ends[0][0], max(ready.slow_from(), now))
        while ends and ends[0][0] <= now:
            _, endpoint = heapq.heappop(ends)
            limits.finished(endpoint, "acme", Lane.SLOW)
            limits.learn(endpoint, int(now * 1000), ok=True, slow=True, throttled=False)
            ready.finished(endpoint)
    assert min(turns.values()) > 0.7 * turns.total() / endpoints


def test_where_all_slots_are_taken_time_alone_gives_endpoints_that_fail_none() -> None:
    limits = Limits(concurrency=4, per_endpoint=8)
    ready = Ready(limits)
    limits.learn(1, 0, ok=False, slow=False, throttled=False)
    ready.add(1)
    for _ in range(3):
        limits.started(2, "acme", 0)
    assert limits.slow_from() == ready.slow_from() == math.inf, "the last slot is kept for those that work"
    limits.finished(2, "acme", Lane.NEW)
    assert ready.slow_from() == 0


def test_the_list_of_ready_endpoints_is_bounded_and_those_that_fail_keep_nobody_else_out() -> None:
    limits = Limits(concurrency=4, per_endpoint=1)
    ready = Ready(limits)
    for endpoint in range(9_000, 20_000):
        limits._state(endpoint).lane = Lane.SLOW
        ready.add(endpoint)
    assert len(ready) == 10_000
    assert not ready.full
    for endpoint in range(8_999):
        ready.add(endpoint)
    assert len(ready) == 18_999
    for endpoint in range(20_000, 22_000):
        ready.add(endpoint)
    assert len(ready) == 20_000
    assert ready.full


def test_endpoints_that_got_no_slot_keep_their_turn() -> None:
    limits = Limits(concurrency=4, per_endpoint=1)
    ready = Ready(limits)
    for endpoint in range(5):
        ready.add(endpoint)
    assert [ask.endpoint for ask in ready.take(0)] == [0, 1, 2, 3, 4]
    ready.add(9)
    ready.add(3)
    ready.put_back([2, 3])
    assert [ask.endpoint for ask in ready.take(0)] == [2, 3, 9]
