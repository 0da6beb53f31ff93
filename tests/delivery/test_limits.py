"""The distribution of slots, and the queue for them."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, strategies as st

from starlette_webhooks.delivery.limits import Limits
from starlette_webhooks.delivery.ready import Ready
from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest, allocate
from tests.clock import Clock


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Lane)), st.integers(0, 8), st.integers(0, 4), st.sampled_from("abc")),
        max_size=30,
    ),
    st.integers(0, 40),
    st.integers(0, 10),
    st.integers(0, 20),
)
def test_no_limit_is_exceeded_and_no_slot_left_unused(
    wants: list[tuple[Lane, int, int, str]], free: int, reserve: int, slow: int
) -> None:
    requests = [SlotRequest(place, lane, room, load, tenant) for place, (lane, room, load, tenant) in enumerate(wants)]
    shares = allocate(requests, Capacity(free, reserve, slow), {})
    by_lane = {
        lane: sum(shares.get(request.endpoint, 0) for request in requests if request.lane is lane) for lane in Lane
    }
    assert all(1 <= shares[request.endpoint] <= request.slots for request in requests if request.endpoint in shares)
    used = sum(by_lane.values())
    assert used <= free
    assert by_lane[Lane.DEGRADED] <= slow
    assert by_lane[Lane.DEGRADED] + by_lane[Lane.UNKNOWN] <= max(free - reserve, 0)
    proven = sum(request.slots for request in requests if request.lane is Lane.HEALTHY)
    assert by_lane[Lane.HEALTHY] == proven or used == free
    if proven == 0 and by_lane[Lane.DEGRADED] < min(
        slow, sum(request.slots for request in requests if request.lane is Lane.DEGRADED)
    ):
        assert used == max(free - reserve, 0)


@given(
    st.lists(
        st.builds(
            SlotRequest,
            endpoint=st.integers(1, 99),
            lane=st.sampled_from(Lane),
            slots=st.integers(-1, 5),
            in_flight=st.integers(0, 4),
            tenant=st.sampled_from("abc"),
        ),
        max_size=8,
        unique_by=lambda request: request.endpoint,
    ),
    st.builds(Capacity, st.integers(-1, 20), st.integers(0, 6), st.integers(0, 5), st.sampled_from([math.inf, 3, 5])),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)),
)
def test_each_slot_goes_to_the_least_busy_tenant_and_there_to_the_least_busy_endpoint(
    requests: list[SlotRequest], capacity: Capacity, tenants: dict[str, int]
) -> None:
    left, loads, expected = replace(capacity), Counter(tenants), Counter[int]()

    def may_have_one(request: SlotRequest) -> bool:
        return (
            expected[request.endpoint] < request.slots
            and loads[request.tenant] < capacity.per_tenant
            and left.of(request.lane) > 0
        )

    def busy(request: SlotRequest) -> tuple[int, int]:
        return loads[request.tenant], request.in_flight + expected[request.endpoint]

    while candidates := [request for request in requests if may_have_one(request)]:
        next_one = min(candidates, key=busy)
        assert left.take(next_one.lane)
        loads[next_one.tenant] += 1
        expected[next_one.endpoint] += 1

    assert allocate(requests, capacity, tenants) == expected


def test_success_doubles_the_slots_of_an_endpoint_and_failure_reduces_them() -> None:
    limits = Limits(concurrency=100, per_endpoint=6)
    for expected in (1, 2, 4, 6, 6):
        assert limits.request(1).slots == expected
        limits.learn(1, 0, ok=True, slow=False, throttled=False)
    assert limits.lane(1) is Lane.HEALTHY
    limits.learn(1, 0, ok=False, slow=False, throttled=False)
    assert (limits.request(1).slots, limits.lane(1)) == (3, Lane.HEALTHY), "one failure among many changes little"
    limits.learn(1, 0, ok=False, slow=True, throttled=False)
    assert (limits.request(1).slots, limits.lane(1)) == (1, Lane.DEGRADED), "a timeout occupies a slot for a long time"
    limits.learn(1, 0, ok=True, slow=True, throttled=False)
    assert limits.lane(1) is Lane.DEGRADED


def test_an_endpoint_that_is_throttled_gets_half_however_many_attempts_fail() -> None:
    limits = Limits(concurrency=100, per_endpoint=8)
    for _ in range(4):
        limits.learn(1, 0, ok=True, slow=False, throttled=False)
    for expected in (4, 2, 1, 1):
        limits.learn(1, 0, ok=False, slow=False, throttled=True)
        assert limits.request(1).slots == expected


def test_an_endpoint_that_mostly_fails_gets_one_slot_unless_it_is_throttled() -> None:
    limits = Limits(concurrency=100, per_endpoint=64)
    for endpoint in (1, 2):
        for _ in range(6):
            limits.learn(endpoint, 0, ok=True, slow=False, throttled=False)
        limits.learn(endpoint, 0, ok=False, slow=True, throttled=endpoint == 2)
    assert (limits.request(1).slots, limits.request(2).slots) == (1, 32)


def test_an_endpoint_that_stops_working_is_degraded_after_a_few_failures() -> None:
    limits = Limits(concurrency=100, per_endpoint=8)
    for _ in range(100):
        limits.learn(1, 0, ok=True, slow=False, throttled=False)
    failures = 0
    while limits.lane(1) is Lane.HEALTHY:
        limits.learn(1, 0, ok=False, slow=False, throttled=False)
        failures += 1
    assert failures <= 24
    assert limits.request(1).slots == 1
    limits.learn(1, 0, ok=False, slow=False, throttled=False)
    assert limits.paused_until(1) > 0


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.4])
def test_an_endpoint_that_fails_less_than_half_of_the_time_keeps_most_of_its_slots(rate: float) -> None:
    limits = Limits(concurrency=100, per_endpoint=8)
    random = Random(1)
    slots = []
    paused = 0.0
    for attempt in range(2000):
        limits.learn(1, attempt, ok=random.random() >= rate, slow=False, throttled=False)
        slots.append(limits.request(1).slots)
        paused += max(limits.paused_until(1) - attempt, 0)
    assert sum(slots) / len(slots) > 8 * (1 - rate) - 2
    assert paused < 2000 * 0.005, "on average less than 5 ms an attempt"


def test_attempts_that_fail_together_pause_an_endpoint_once_and_a_success_ends_the_pause() -> None:
    limits = Limits(concurrency=100, per_endpoint=6, random=lambda: 0.5)
    for _ in range(6):
        limits.learn(1, 0, ok=False, slow=False, throttled=False)
    assert limits.paused_until(1) == 0.1
    limits.learn(1, 0.1, ok=False, slow=False, throttled=True)
    assert limits.paused_until(1) == pytest.approx(0.3)
    limits.learn(1, 0.101, ok=True, slow=False, throttled=False)
    assert limits.paused_until(1) == -math.inf
    limits.learn(1, 0.102, ok=False, slow=False, throttled=False)
    assert limits.paused_until(1) == 0.102, "the first failure pauses nothing"
    limits.learn(1, 0.103, ok=False, slow=False, throttled=False)
    assert limits.paused_until(1) == pytest.approx(0.203), "it starts again"
    limits.resume(1, 0.103)
    assert limits.paused_until(1) == -math.inf
    assert limits.paused_until(2) == -math.inf


def test_a_person_ends_the_pauses_of_an_endpoint_ten_times_a_minute_at_most() -> None:
    limits = Limits(concurrency=2, per_endpoint=1, random=lambda: 0.5)

    def ended_of(pauses: int, now: float) -> int:
        ended = 0
        for _ in range(pauses):
            # Long enough for the next failure to count.
            now += 0.0001
            limits.learn(1, now, ok=False, slow=True, throttled=False)
            limits.resume(1, now)
            ended += limits.paused_until(1) <= now
        return ended

    limits.learn(1, 0, ok=False, slow=True, throttled=False)
    assert ended_of(30, 0) == 10
    assert ended_of(30, 61) == 10


def test_a_person_ends_the_pauses_of_all_endpoints_of_a_tenant_a_hundred_times_a_minute_at_most() -> None:
    clock = Clock(speed=0)
    limits = Limits(concurrency=2, per_endpoint=1, random=lambda: 0.5, clock=clock.monotonic)

    def ends(endpoint: int, tenant: str) -> bool:
        now = clock.monotonic()
        limits.finished(endpoint, tenant, limits.started(endpoint, tenant, now))
        for _ in range(2):
            limits.learn(endpoint, now, ok=False, slow=True, throttled=False)
        assert limits.paused_until(endpoint) > now
        limits.resume(endpoint, now)
        return limits.paused_until(endpoint) <= now

    assert [ends(endpoint, "acme") for endpoint in range(120)] == [True] * 100 + [False] * 20
    assert ends(1000, "globex")
    clock.advance(6)
    assert [ends(endpoint, "acme") for endpoint in range(200, 215)] == [True] * 10 + [False] * 5


def test_to_ask_for_an_endpoint_that_is_not_paused_uses_up_nothing() -> None:
    limits = Limits(concurrency=2, per_endpoint=1, random=lambda: 0.5)
    limits.resume(1, 0)
    limits.learn(1, 0, ok=True, slow=False, throttled=False)
    for _ in range(100):
        limits.resume(1, 0)
    for _ in range(2):
        limits.learn(1, 0, ok=False, slow=True, throttled=False)
    assert limits.paused_until(1) > 0
    limits.resume(1, 0)
    assert limits.paused_until(1) == -math.inf


def test_the_number_of_remembered_endpoints_is_bounded() -> None:
    limits = Limits(concurrency=2, per_endpoint=1)
    limits.started(0, "acme", 0)
    for endpoint in range(1, 20_000):
        limits.learn(endpoint, 0, ok=True, slow=False, throttled=False)
    assert len(limits) == 10_000
    assert limits.request(0).slots == 0, "an endpoint with a running attempt is not forgotten"
    assert limits.lane(1) is Lane.UNKNOWN


def test_busy_endpoints_wait_until_one_of_their_attempts_has_ended() -> None:
    limits = Limits(concurrency=4, per_endpoint=1)
    ready = Ready(limits)
    lane = limits.started(1, "acme", 0)
    for endpoint in (1, 2, 2):
        ready.add(endpoint)
    assert [request.endpoint for request in ready.take(0)] == [2]
    assert ready.take(0) == []
    assert len(ready) == 1
    limits.finished(1, "acme", lane)
    ready.finished(1)
    assert [request.endpoint for request in ready.take(0)] == [1]
    assert len(ready) == 0


def test_failing_endpoints_start_a_few_at_a_time_and_working_ones_do_not_wait_for_them() -> None:
    limits = Limits(concurrency=80, per_endpoint=1)
    ready = Ready(limits)
    assert ready.degraded_from() == math.inf, "nobody waits"
    for endpoint in range(8):
        limits.learn(endpoint, 0, ok=False, slow=False, throttled=False)
        ready.add(endpoint)
    assert ready.degraded_from() == -math.inf
    assert limits.capacity(0).of(Lane.DEGRADED) == 5, "an eighth of their slots"
    for endpoint in range(5):
        ready.remove(endpoint)
        limits.started(endpoint, "acme", 0)
    assert limits.capacity(0.019).of(Lane.DEGRADED) == 0
    assert limits.capacity(0.019).of(Lane.HEALTHY) == 75
    assert ready.take(0.019) == []
    assert ready.degraded_from() == 0.02
    assert [request.endpoint for request in ready.take(0.02)] == [5, 6, 7]


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
        while requests := ready.take(now):
            shares = allocate(requests, limits.capacity(now), limits.tenants)
            ready.put_back([request.endpoint for request in requests if request.endpoint not in shares])
            now += 0.002
            for endpoint in shares:
                limits.started(endpoint, "acme", now)
                turns[endpoint] += 1
                heapq.heappush(ends, (now + random.uniform(*seconds), endpoint))
                ready.add(endpoint)
        now = min(ends[0][0], max(ready.degraded_from(), now))
        while ends and ends[0][0] <= now:
            _, endpoint = heapq.heappop(ends)
            limits.finished(endpoint, "acme", Lane.DEGRADED)
            limits.learn(endpoint, now, ok=True, slow=True, throttled=False)
            ready.finished(endpoint)
    assert min(turns.values()) > 0.7 * turns.total() / endpoints


def test_without_free_slots_failing_endpoints_get_none_over_time() -> None:
    limits = Limits(concurrency=4, per_endpoint=8)
    ready = Ready(limits)
    limits.learn(1, 0, ok=False, slow=False, throttled=False)
    ready.add(1)
    for _ in range(3):
        limits.started(2, "acme", 0)
    assert limits.degraded_from() == ready.degraded_from() == math.inf, "the last slot is for working endpoints"
    limits.finished(2, "acme", Lane.UNKNOWN)
    assert ready.degraded_from() == -math.inf


def test_the_list_of_ready_endpoints_is_bounded_and_failing_ones_do_not_displace_others() -> None:
    limits = Limits(concurrency=4, per_endpoint=1)
    ready = Ready(limits)
    for endpoint in range(9_000, 20_000):
        limits.known_to_fail(endpoint)
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


def test_endpoints_that_got_no_slot_keep_their_place() -> None:
    limits = Limits(concurrency=4, per_endpoint=1)
    ready = Ready(limits)
    for endpoint in range(5):
        ready.add(endpoint)
    assert [request.endpoint for request in ready.take(0)] == [0, 1, 2, 3, 4]
    ready.add(9)
    ready.add(3)
    ready.put_back([2, 3])
    assert [request.endpoint for request in ready.take(0)] == [2, 3, 9]
