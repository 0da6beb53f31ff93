"""The queue of endpoints that wait for a slot."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from starlette_webhooks.delivery.limits import Limits
from starlette_webhooks.delivery.slots import Lane, SlotRequest

__all__ = ["Ready"]

_MOST = 10_000
_SPARE = 16


class Ready:
    """A queue of endpoints that probably have due deliveries. Used on the event loop only.

    Args:
        most: The maximum of endpoints per lane. The next scan of the store finds the others.
    """

    def __init__(self, limits: Limits, *, most: int = _MOST) -> None:
        self._limits = limits
        self._most = most
        self._queues: dict[Lane, OrderedDict[int, None]] = {lane: OrderedDict() for lane in Lane}
        # Endpoints that already have as many attempts as they may have.
        self._busy: OrderedDict[int, None] = OrderedDict()
        self._places: dict[int, OrderedDict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def full(self) -> bool:
        """Whether there is no place for more endpoints of unknown state."""
        return len(self._queues[Lane.UNKNOWN]) >= self._most

    def add(self, endpoint: int) -> None:
        """Add an endpoint to the end of its lane. If it is already there, it keeps its place."""
        place = self._places.get(endpoint)
        queue = self._queues[self._limits.lane(endpoint)]
        if place is queue or (place is None and len(queue) >= self._most):
            return
        if place is not None:
            del place[endpoint]
        queue[endpoint] = None
        self._places[endpoint] = queue

    def put_back(self, endpoints: Sequence[int]) -> None:
        """Return endpoints that got no slot to the head of their lanes, so that each gets its turn."""
        for endpoint in reversed(endpoints):
            self.remove(endpoint)
            queue = self._places[endpoint] = self._queues[self._limits.lane(endpoint)]
            queue[endpoint] = None
            queue.move_to_end(endpoint, last=False)

    def finished(self, endpoint: int) -> None:
        """Note that an attempt has ended: the endpoint may have another, possibly in another lane."""
        if endpoint in self._places:
            self.add(endpoint)

    def remove(self, endpoint: int) -> bool:
        """Remove an endpoint, and return whether it was there."""
        place = self._places.pop(endpoint, None)
        if place is None:
            return False
        del place[endpoint]
        return True

    def degraded_from(self) -> float:
        """Return when waiting degraded endpoints may get slots (see `Limits.degraded_from`); infinity if none waits."""
        return self._limits.degraded_from() if self._queues[Lane.DEGRADED] else math.inf

    def take(self, now: float) -> list[SlotRequest]:
        """Remove and return the next endpoints, more than there are slots. Empty if no endpoint can use a slot."""
        capacity = self._limits.capacity(now)
        return [
            request
            for lane in Lane
            if capacity.of(lane) > 0
            for request in self._take(lane, 2 * capacity.of(lane) + _SPARE)
        ]

    def _take(self, lane: Lane, most: int) -> list[SlotRequest]:
        requests: list[SlotRequest] = []
        queue = self._queues[lane]
        while queue and len(requests) < most:
            endpoint = next(iter(queue))
            del queue[endpoint]
            request = self._limits.request(endpoint)
            if request.slots > 0:
                del self._places[endpoint]
                requests.append(request)
            else:
                self._busy[endpoint] = None
                self._places[endpoint] = self._busy
        return requests
