"""Slots for attempts, and their distribution over tenants and endpoints. Pure functions without clock or database."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

__all__ = ["Capacity", "Lane", "SlotRequest", "allocate"]


class Lane(IntEnum):
    """What this process knows about an endpoint."""

    HEALTHY = 0
    """Its last attempt succeeded within 2 seconds."""
    UNKNOWN = 1
    DEGRADED = 2
    """Its last attempt failed or took longer."""


@dataclass(slots=True)
class Capacity:
    """The free slots.

    Attributes:
        free: In total.
        reserve: How many of these are reserved for healthy endpoints.
        degraded: The maximum for degraded endpoints.
        per_tenant: The maximum of running attempts per tenant.
    """

    free: int
    reserve: int
    degraded: int
    per_tenant: float = math.inf

    def of(self, lane: Lane) -> int:
        """Return how many slots an endpoint of this lane may get."""
        if lane is Lane.HEALTHY:
            return self.free
        shared = max(self.free - self.reserve, 0)
        return shared if lane is Lane.UNKNOWN else min(shared, self.degraded)

    def take(self, lane: Lane) -> bool:
        """Allocate one slot. Returns False if there is none for this lane."""
        if self.of(lane) <= 0:
            return False
        self.free -= 1
        if lane is Lane.DEGRADED:
            self.degraded -= 1
        return True


@dataclass(frozen=True, slots=True)
class SlotRequest:
    """An endpoint that requests slots, because it may have due deliveries.

    Attributes:
        slots: How many more slots it may have.
        in_flight: How many attempts it has running.
        tenant: Empty until the store has named it.
    """

    endpoint: int
    lane: Lane
    slots: int
    in_flight: int
    tenant: str = ""


def allocate(requests: Sequence[SlotRequest], capacity: Capacity, tenants: Mapping[str, int]) -> dict[int, int]:
    """Distribute the slots: each goes to the tenant with the fewest running attempts, and there to the endpoint with
    the fewest.

    Args:
        tenants: Attempts under way by tenant.

    Returns:
        The number of slots by endpoint, without endpoints that get none.
    """
    left = replace(capacity)
    loads = dict(tenants)
    slots: dict[int, int] = {}
    heap = [
        (loads.get(request.tenant, 0), request.in_flight, place)
        for place, request in enumerate(requests)
        if request.slots > 0
    ]
    heapq.heapify(heap)
    while heap and left.free > 0:
        tenant_load, load, place = heap[0]
        request = requests[place]
        current = loads.get(request.tenant, 0)
        if current != tenant_load:
            # Another endpoint of the tenant got a slot since this entry was made.
            heapq.heapreplace(heap, (current, load, place))
            continue
        if current >= capacity.per_tenant or not left.take(request.lane):
            heapq.heappop(heap)
            continue
        loads[request.tenant] = current + 1
        slots[request.endpoint] = slots.get(request.endpoint, 0) + 1
        if slots[request.endpoint] < request.slots:
            heapq.heapreplace(heap, (current + 1, load + 1, place))
        else:
            heapq.heappop(heap)
    return slots
