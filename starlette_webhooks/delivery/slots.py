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
    if _all_fit(requests, capacity, tenants):
        return {request.endpoint: request.slots for request in requests if request.slots > 0}
    left = replace(capacity)
    slots: dict[int, int] = {}
    # The endpoints of each tenant, and the tenants by the first of their endpoints.
    queues: dict[str, list[tuple[int, int]]] = {}
    for place, request in enumerate(requests):
        if request.slots > 0:
            queues.setdefault(request.tenant, []).append((request.in_flight, place))
    for queue in queues.values():
        heapq.heapify(queue)
    heap = [(tenants.get(tenant, 0), *queue[0]) for tenant, queue in queues.items()]
    heapq.heapify(heap)
    while heap and left.free > 0:
        tenant_load, load, place = heap[0]
        request = requests[place]
        queue = queues[request.tenant]
        if tenant_load >= capacity.per_tenant:
            heapq.heappop(heap)
            continue
        if left.take(request.lane):
            tenant_load += 1
            slots[request.endpoint] = slots.get(request.endpoint, 0) + 1
        if slots.get(request.endpoint, 0) < request.slots and left.of(request.lane) > 0:
            heapq.heapreplace(queue, (load + 1, place))
        else:
            heapq.heappop(queue)
        if queue:
            heapq.heapreplace(heap, (tenant_load, *queue[0]))
        else:
            heapq.heappop(heap)
    return slots


def _all_fit(requests: Sequence[SlotRequest], capacity: Capacity, tenants: Mapping[str, int]) -> bool:
    """Whether there is surely a slot for each request. This is the usual case, and needs no order."""
    total = degraded = 0
    scarcest = capacity.of(Lane.HEALTHY)
    loads: dict[str, int] = {}
    for request in requests:
        if request.slots <= 0:
            continue
        total += request.slots
        loads[request.tenant] = loads.get(request.tenant, 0) + request.slots
        if request.lane is not Lane.HEALTHY:
            scarcest = capacity.of(Lane.UNKNOWN)
        if request.lane is Lane.DEGRADED:
            degraded += request.slots
    return (
        total <= scarcest
        and degraded <= capacity.degraded
        and all(tenants.get(tenant, 0) + load <= capacity.per_tenant for tenant, load in loads.items())
    )
