"""Planning a claim: how many deliveries to lease of each endpoint, and when a rate limit allows more.

Pure functions, which each store calls between its statements. Times are milliseconds since the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from starlette_webhooks.delivery.deliveries import Claim, LeasedDelivery
from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest, allocate

__all__ = ["Candidate", "ClaimPlan", "plan_claim"]

_BURST_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint that asked for slots, as the store knows it.

    Attributes:
        rate_limit: Deliveries a second, or None.
        paced_until: When its rate limit, or a `Retry-After`, lets the next attempt go.
        failing: Whether its last attempt failed.
        due: When its first delivery is due.
    """

    endpoint: int
    tenant: str
    rate_limit: int | None
    paced_until: float
    failing: bool
    due: float


@dataclass(slots=True)
class ClaimPlan:
    """What a claim leases.

    Attributes:
        slots: How many deliveries to lease at most, by endpoint.
        candidates: The endpoints that have deliveries due, in the order of the requests: they take turns by it.
        waiting, failing: See `Claim`.
    """

    now: int
    slots: Mapping[int, int]
    candidates: Mapping[int, Candidate]
    waiting: list[tuple[float, int]] = field(default_factory=list)
    failing: list[int] = field(default_factory=list)

    def paces(self, leased: Mapping[int, int]) -> dict[int, float]:
        """The new `paced_until` of endpoints with a rate limit, to be stored where all processes see it.

        Args:
            leased: How many deliveries were leased, by endpoint.
        """
        paces: dict[int, float] = {}
        for endpoint, count in leased.items():
            candidate = self.candidates[endpoint]
            if candidate.rate_limit is not None and count:
                start = _paced_from(candidate.rate_limit, candidate.paced_until, self.now)
                paces[endpoint] = start + count * 1000 / candidate.rate_limit
        return paces

    def claim(self, deliveries: Iterable[LeasedDelivery], leased: Mapping[int, int]) -> Claim:
        """The claim as the dispatcher gets it. `leased` as for `paces`."""
        claim = Claim(list(deliveries), waiting=self.waiting, failing=self.failing)
        paces = self.paces(leased)
        for endpoint in self.candidates:
            wanted, got = self.slots.get(endpoint, 0), leased.get(endpoint, 0)
            pace = math.ceil(paces.get(endpoint, 0))
            if not wanted:
                claim.unserved.append(endpoint)
            elif got < wanted:
                pass  # It has no more deliveries due.
            elif pace > self.now:
                claim.waiting.append((pace, endpoint))
            else:
                claim.remaining.append(endpoint)
        return claim


def plan_claim(
    requests: Sequence[SlotRequest],
    candidates: Iterable[Candidate],
    capacity: Capacity,
    tenants: Mapping[str, int],
    *,
    now: int,
) -> ClaimPlan:
    """Share the slots out fairly over tenants and endpoints, as far as rate limits allow.

    Args:
        candidates: Those of the requests' endpoints that are enabled and have deliveries, in any order.
        tenants: Attempts under way by tenant.
    """
    known = {candidate.endpoint: candidate for candidate in candidates}
    plan = ClaimPlan(now, {}, {})
    ready: dict[int, Candidate] = {}
    granted: list[SlotRequest] = []
    for request in requests:
        candidate = known.get(request.endpoint)
        if candidate is None:
            continue
        lane = request.lane
        if candidate.failing:
            plan.failing.append(candidate.endpoint)
            # Only the store knows of failures before this process started.
            if lane is Lane.UNKNOWN:
                lane = Lane.DEGRADED
        start = max(candidate.due, candidate.paced_until)
        if start > now:
            plan.waiting.append((start, candidate.endpoint))
            continue
        ready[candidate.endpoint] = candidate
        slots = request.slots
        if candidate.rate_limit is not None:
            slots = min(slots, _allowed(candidate.rate_limit, candidate.paced_until, now))
        granted.append(replace(request, tenant=candidate.tenant, lane=lane, slots=slots))
    plan.candidates = ready
    plan.slots = allocate(granted, capacity, tenants)
    return plan


def _paced_from(rate: int, paced_until: float, now: int) -> float:
    # A tenth of a second's worth may go at once, so that high rates need no claim for each delivery.
    burst = max(int(rate * _BURST_SECONDS), 1)
    return max(paced_until, now - (burst - 1) * 1000 / rate)


def _allowed(rate: int, paced_until: float, now: int) -> int:
    return int((now - _paced_from(rate, paced_until, now)) * rate / 1000 + 1e-6) + 1
