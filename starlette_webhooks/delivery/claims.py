"""Plans a claim: how many deliveries of each endpoint to lease, and when its pace allows more.

The functions are pure. Each store calls them between its statements. Times are milliseconds since the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from starlette_webhooks.delivery.deliveries import Claim, DueEndpoint, DuePage, LeasedDelivery
from starlette_webhooks.delivery.pacing import UNPROVEN, Pace, is_proven, pace_of
from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest, allocate

__all__ = ["Candidate", "ClaimPlan", "ClaimRequest", "Holds", "due_page", "grants_all", "plan_claim"]

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
        urgent: Lease only urgent deliveries, ignoring paces and pauses.
        unproven: The pace of endpoints whose servers have never accepted a delivery. None for no pace.
    """

    requests: Sequence[SlotRequest]
    capacity: Capacity
    tenants: Mapping[str, int]
    now: int
    lease: int
    urgent: bool = False
    unproven: Pace | None = UNPROVEN


@dataclass(frozen=True, slots=True)
class Holds:
    """What may delay an endpoint's deliveries.

    Attributes:
        rate_limit: Deliveries per second, or None.
        paced_until: When the pace allows the next attempt.
        paused_at: When its receiver asked for a pause.
        paused_until: When that pause ends.
        proven: Whether its server has accepted a delivery. If not, it is called slowly.
        unproven: The pace of a server that has not. None for no pace.
    """

    rate_limit: int | None = None
    paced_until: float = 0.0
    paused_at: int = 0
    paused_until: int = 0
    proven: bool = True
    unproven: Pace | None = UNPROVEN

    @classmethod
    def of(
        cls,
        url: str,
        proven_server: str | None,
        rate_limit: int | None,
        paced_until: float,
        paused_at: int,
        paused_until: int,
        *,
        unproven: Pace | None,
    ) -> Self:
        """Return the holds of an endpoint from its columns.

        Args:
            proven_server: The server that has accepted a delivery to this endpoint, or None.
        """
        return cls(rate_limit, paced_until, paused_at, paused_until, is_proven(url, proven_server), unproven)

    @property
    def pace(self) -> Pace | None:
        """The pace of deliveries, or None."""
        return pace_of(self.rate_limit, None if self.proven else self.unproven)

    def until(self, now: int) -> float:
        """Return when the next attempt may start; 0 for now.

        Ignores what was stored while the clock was ahead: a pause that was requested in the future, and a pace
        that reaches further than possible. The endpoint would otherwise get nothing until the clock catches up.
        """
        paused = 0 if self.paused_at > now + _TOLERANCE else self.paused_until
        return max(paused, self.paced(now))

    def paced(self, now: int) -> float:
        """Return when the pace allows the next attempt, regardless of pauses; 0 for now."""
        if self.paced_until <= now:
            return self.paced_until
        pace = self.pace
        if pace is None or self.paced_until > now + pace.interval + _TOLERANCE:
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

    def pace(self, endpoint: int) -> Pace | None:
        """Return the pace of an endpoint, or None."""
        return self.candidates[endpoint].holds.pace

    def paces(self, leased: Mapping[int, int]) -> dict[int, float]:
        """Return the new `paced_until` of endpoints with a pace, to be stored for all processes.

        Args:
            leased: How many deliveries were leased, by endpoint.
        """
        paces: dict[int, float] = {}
        if self.urgent:
            return paces
        for endpoint, count in leased.items():
            pace = self.pace(endpoint)
            if pace is not None and count:
                start = pace.start(self.candidates[endpoint].holds.paced(self.now), self.now)
                paces[endpoint] = start + count * pace.interval
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


def due_page(
    rows: Sequence[Sequence[Any]], *, due_by: int, now: int, urgent: Sequence[int], unproven: Pace | None
) -> DuePage:
    """Return which of the endpoints that a store looked at are due by then.

    Args:
        rows: Sorted by number: the endpoint, when its first delivery is due (None if none waits or the endpoint is
            disabled), whether its last attempt failed, and the arguments of `Holds.of`. A last row without an endpoint
            means that there are no more.
    """
    found = []
    for endpoint, first, failing, *holds in rows:
        if first is not None and first <= due_by:
            at = max(first, Holds.of(*holds, unproven=unproven).until(now))
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
        pace = None if urgent else candidate.holds.pace
        if pace is not None:
            slots = min(slots, pace.allowed(candidate.holds.paced(now), now))
        granted.append(replace(slot_request, tenant=candidate.tenant, lane=lane, slots=slots))
    plan.candidates = ready
    plan.slots = allocate(granted, request.capacity, request.tenants)
    return plan
