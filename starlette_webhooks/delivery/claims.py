"""Plans a claim: how many deliveries of each endpoint to lease, and when a rate limit allows more.

The functions are pure. Each store calls them between its statements. Times are milliseconds since the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from starlette_webhooks.delivery.deliveries import Claim, DueEndpoint, DuePage, LeasedDelivery
from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest, allocate

__all__ = ["Candidate", "ClaimPlan", "ClaimRequest", "Holds", "due_page", "grants_all", "plan_claim"]

_BURST_SECONDS = 0.1
# How far the clocks of processes may differ, including rounding.
_TOLERANCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """What a dispatcher requests from a store.

    Attributes:
        requests: The endpoints to look at.
        capacity: The slots to fill.
        tenants: Running attempts by tenant.
        now: The time by the store's clock.
        lease: When the leases end.
        urgent: Lease only urgent deliveries, ignoring rate limits and pauses.
    """

    requests: Sequence[SlotRequest]
    capacity: Capacity
    tenants: Mapping[str, int]
    now: int
    lease: int
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Holds:
    """What may delay an endpoint's deliveries.

    Attributes:
        rate_limit: Deliveries per second, or None.
        paced_until: When the rate limit allows the next attempt.
        paused_at: When its receiver asked for a pause.
        paused_until: When that pause ends.
    """

    rate_limit: int | None = None
    paced_until: float = 0.0
    paused_at: int = 0
    paused_until: int = 0

    def until(self, now: int) -> float:
        """Return when the next attempt may start; 0 for now.

        Ignores what was stored while the clock was ahead: a pause that was requested in the future, and a rate limit
        that reaches further than possible. The endpoint would otherwise get nothing until the clock catches up.
        """
        paused = 0 if self.paused_at > now + _TOLERANCE else self.paused_until
        return max(paused, self.paced(now))

    def paced(self, now: int) -> float:
        """Return when the rate limit allows the next attempt, regardless of pauses; 0 for now."""
        if self.rate_limit is None or self.paced_until > now + 1000 / self.rate_limit + _TOLERANCE:
            return 0.0
        return self.paced_until


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint that requested slots, with what the store knows about it.

    Attributes:
        due: When its first delivery is due.
        failing: Whether its last attempt failed.
    """

    endpoint: int
    tenant: str
    due: float
    failing: bool
    holds: Holds


@dataclass(slots=True)
class ClaimPlan:
    """What a claim leases.

    Attributes:
        slots: The maximum of deliveries to lease, by endpoint.
        candidates: The endpoints with due deliveries, in the order of the requests, by which they take turns.
        waiting, failing: See `Claim`.
    """

    now: int
    slots: Mapping[int, int]
    candidates: Mapping[int, Candidate]
    urgent: bool = False
    waiting: list[tuple[float, int]] = field(default_factory=list)
    failing: list[int] = field(default_factory=list)

    def paces(self, leased: Mapping[int, int]) -> dict[int, float]:
        """Return the new `paced_until` of endpoints with a rate limit, to be stored for all processes.

        Args:
            leased: How many deliveries were leased, by endpoint.
        """
        paces: dict[int, float] = {}
        if self.urgent:
            return paces
        for endpoint, count in leased.items():
            holds = self.candidates[endpoint].holds
            if holds.rate_limit is not None and count:
                start = _paced_from(holds.rate_limit, holds.paced(self.now), self.now)
                paces[endpoint] = start + count * 1000 / holds.rate_limit
        return paces

    def claim(self, deliveries: Iterable[LeasedDelivery], leased: Mapping[int, int]) -> Claim:
        """Return the claim for the dispatcher. `leased` as for `paces`."""
        claim = Claim(list(deliveries), waiting=self.waiting, failing=self.failing)
        paces = self.paces(leased)
        for endpoint in self.candidates:
            wanted, got = self.slots.get(endpoint, 0), leased.get(endpoint, 0)
            pace = math.ceil(paces.get(endpoint, 0))
            if not wanted:
                claim.unserved.append(endpoint)
            elif got < wanted:
                pass  # The endpoint has no more deliveries due.
            elif pace > self.now:
                claim.waiting.append((pace, endpoint))
            else:
                claim.remaining.append(endpoint)
        return claim


def due_page(rows: Sequence[Sequence[Any]], *, due_by: int, now: int, urgent: Sequence[int]) -> DuePage:
    """Return which of the endpoints that a store looked at are due by then.

    Args:
        rows: Sorted by number: the endpoint, when its first delivery is due (None if none waits or the endpoint is
            disabled), whether its last attempt failed, and the values of its `Holds`. A last row without an endpoint
            means that there are no more.
    """
    found = []
    for endpoint, first, failing, *holds in rows:
        if first is not None and first <= due_by:
            at = max(first, Holds(*holds).until(now))
            if at <= due_by:
                found.append(DueEndpoint(endpoint, at, bool(failing)))
    return DuePage(found, rows[-1][0], urgent)


def grants_all(request: ClaimRequest) -> bool:
    """Whether each endpoint would get all slots that it requests, whichever tenants they belong to.

    For endpoints that are not failing and that nothing delays, a store can then lease without a plan.
    """
    total = sum(one.slots for one in request.requests)
    if max(request.tenants.values(), default=0) + total > request.capacity.per_tenant:
        return False
    return sum(allocate(request.requests, request.capacity, {}).values()) == total


def plan_claim(request: ClaimRequest, candidates: Iterable[Candidate]) -> ClaimPlan:
    """Distribute the slots fairly over tenants and endpoints, within rate limits and pauses.

    Args:
        candidates: Those of the requested endpoints that are enabled and have deliveries, in any order.
    """
    now, urgent = request.now, request.urgent
    known = {candidate.endpoint: candidate for candidate in candidates}
    plan = ClaimPlan(now, {}, {}, urgent)
    ready: dict[int, Candidate] = {}
    granted: list[SlotRequest] = []
    for slot_request in request.requests:
        candidate = known.get(slot_request.endpoint)
        if candidate is None:
            continue
        lane = slot_request.lane
        if candidate.failing:
            plan.failing.append(candidate.endpoint)
            # Only the store knows about failures from before this process started.
            if lane is Lane.UNKNOWN:
                lane = Lane.DEGRADED
        start = candidate.due if urgent else max(candidate.due, candidate.holds.until(now))
        if start > now:
            plan.waiting.append((start, candidate.endpoint))
            continue
        ready[candidate.endpoint] = candidate
        slots = slot_request.slots
        if candidate.holds.rate_limit is not None and not urgent:
            slots = min(slots, _allowed(candidate.holds.rate_limit, candidate.holds.paced(now), now))
        granted.append(replace(slot_request, tenant=candidate.tenant, lane=lane, slots=slots))
    plan.candidates = ready
    plan.slots = allocate(granted, request.capacity, request.tenants)
    return plan


def _paced_from(rate: int, paced_until: float, now: int) -> float:
    # Deliveries for a tenth of a second may start together, so that high rates need no claim for each delivery.
    burst = max(int(rate * _BURST_SECONDS), 1)
    return max(paced_until, now - (burst - 1) * 1000 / rate)


def _allowed(rate: int, paced_until: float, now: int) -> int:
    return int((now - _paced_from(rate, paced_until, now)) * rate / 1000 + 1e-6) + 1
