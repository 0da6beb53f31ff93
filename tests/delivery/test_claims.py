"""Planning of claims, without a database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from starlette_webhooks.delivery.claims import Candidate, ClaimPlan, ClaimRequest, Holds, grants_all, plan_claim
from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest

NOW = 1_700_000_000_000
MINUTE = 60_000
PLENTY = Capacity(free=100, reserve=0, degraded=50)


def request(endpoint: int = 1, slots: int = 8, lane: Lane = Lane.HEALTHY) -> SlotRequest:
    return SlotRequest(endpoint, lane, slots, 0)


def candidate(
    endpoint: int = 1, *, tenant: str = "acme", due: float = NOW, failing: bool = False, **holds: Any
) -> Candidate:
    return Candidate(endpoint, tenant, due, failing, Holds(**holds))


def planned(
    asked: Sequence[SlotRequest], found: Iterable[Candidate], capacity: Capacity = PLENTY, *, urgent: bool = False
) -> ClaimPlan:
    request = ClaimRequest(requests=asked, capacity=capacity, tenants={}, now=NOW, lease=NOW + MINUTE, urgent=urgent)
    return plan_claim(request, found)


def test_missing_endpoints_and_endpoints_with_nothing_due_get_nothing() -> None:
    plan = planned([request(1), request(2)], [candidate(2, due=NOW + 5)])
    claim = plan.claim([], {})
    assert (plan.slots, claim.waiting, claim.unserved) == ({}, [(NOW + 5, 2)], [])


def test_candidates_keep_the_order_in_which_they_were_asked() -> None:
    asked = [request(endpoint) for endpoint in (5, 3, 9)]
    full = Capacity(free=0, reserve=0, degraded=0)
    plan = planned(asked, [candidate(endpoint) for endpoint in (3, 5, 9)], full)
    assert plan.claim([], {}).unserved == [5, 3, 9]


def test_an_endpoint_with_fewer_deliveries_than_slots_has_none_left() -> None:
    plan = planned([request(1), request(2)], [candidate(1), candidate(2)])
    assert plan.slots == {1: 8, 2: 8}
    assert plan.claim([], {1: 8, 2: 7}).remaining == [1]


def test_the_store_knows_of_failures_before_this_process_started() -> None:
    asked = [request(1, lane=Lane.UNKNOWN), request(2, lane=Lane.HEALTHY)]
    none_degraded = Capacity(free=10, reserve=0, degraded=0)
    found = [candidate(1, failing=True), candidate(2, failing=True)]
    plan = planned(asked, found, none_degraded)
    assert plan.slots == {2: 8}, "what this process has observed takes precedence"
    assert plan.failing == [1, 2]


def test_a_rate_limit_spaces_attempts_and_saves_nothing_up() -> None:
    for since in (NOW - 10 * MINUTE, NOW - 200):
        plan = planned([request()], [candidate(rate_limit=5, paced_until=since)])
        assert plan.slots == {1: 1}
        assert plan.paces({1: 1}) == {1: NOW + 200}
        assert plan.claim([], {1: 1}).waiting == [(NOW + 200, 1)]
    held = planned([request()], [candidate(rate_limit=5, paced_until=NOW + 1)])
    assert (held.slots, held.waiting) == ({}, [(NOW + 1, 1)])


def test_a_high_rate_goes_a_tenth_of_a_second_at_a_time() -> None:
    def slots(paced_until: float) -> int:
        plan = planned([request(slots=50)], [candidate(rate_limit=100, paced_until=paced_until)])
        return plan.slots[1]

    assert slots(0) == 10
    assert slots(NOW - 40) == 5
    plan = planned([request(slots=50)], [candidate(rate_limit=100)])
    assert plan.paces({1: 3}) == {1: NOW - 90 + 30}, "what was not leased stays allowed"
    assert plan.claim([], {1: 3}).remaining == []


def test_neither_a_rate_limit_nor_a_pause_delays_urgent_deliveries() -> None:
    found = [candidate(rate_limit=1, paced_until=NOW + 500, paused_at=NOW, paused_until=NOW + MINUTE)]
    assert planned([request()], found).waiting == [(NOW + MINUTE, 1)]
    plan = planned([request()], found, urgent=True)
    assert plan.slots == {1: 8}
    assert plan.paces({1: 8}) == {}


def test_times_stored_while_the_clock_was_ahead_delay_nothing() -> None:
    hour = 60 * MINUTE
    assert Holds(rate_limit=10, paced_until=NOW + 100).until(NOW) == NOW + 100
    assert Holds(rate_limit=10, paced_until=NOW + hour).until(NOW) == 0
    assert Holds(paced_until=NOW + 100).until(NOW) == 0, "there is no longer a limit"
    assert Holds(paused_at=NOW, paused_until=NOW + hour).until(NOW) == NOW + hour
    assert Holds(paused_at=NOW + hour, paused_until=NOW + hour + MINUTE).until(NOW) == 0
    plan = planned([request()], [candidate(rate_limit=10, paced_until=NOW + hour)])
    assert plan.paces({1: 1}) == {1: NOW + 100}


def test_requests_are_granted_without_a_plan_only_if_none_of_them_could_get_less() -> None:
    def granted(*asked: SlotRequest, capacity: Capacity = PLENTY, **tenants: int) -> bool:
        return grants_all(ClaimRequest(requests=asked, capacity=capacity, tenants=tenants, now=NOW, lease=NOW + MINUTE))

    some = Capacity(free=16, reserve=4, degraded=2)
    assert granted(request(1), request(2), capacity=some)
    assert not granted(request(1), request(2, slots=9), capacity=some)
    assert granted(request(slots=12, lane=Lane.UNKNOWN), capacity=some)
    assert not granted(request(slots=13, lane=Lane.UNKNOWN), capacity=some)
    assert granted(request(slots=2, lane=Lane.DEGRADED), capacity=some)
    assert not granted(request(slots=3, lane=Lane.DEGRADED), capacity=some)
    shared = Capacity(free=16, reserve=0, degraded=2, per_tenant=10)
    assert granted(request(1, slots=4), request(2, slots=4), capacity=shared, acme=2)
    assert not granted(request(1, slots=4), request(2, slots=4), capacity=shared, acme=3)


def test_an_endpoint_that_never_accepted_a_delivery_gets_ten_then_one_a_second() -> None:
    plan = planned([request(slots=50)], [candidate(proven=False)])
    assert plan.slots == {1: 10}
    assert plan.paces({1: 10}) == {1: NOW + 1000}
    assert plan.claim([], {1: 10}).waiting == [(NOW + 1000, 1)]
    found = [candidate(proven=False, paced_until=NOW + 1000)]
    assert planned([request()], found).waiting == [(NOW + 1000, 1)]
    assert planned([request()], found, urgent=True).slots == {1: 8}, "tests and resends are not held back"
    assert planned([request()], [candidate(paced_until=NOW + 1000)]).slots == {1: 8}, "it has accepted one since"
