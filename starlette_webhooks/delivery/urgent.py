"""Deliveries that a person asked for, by a test or a resend, and is waiting for."""

from __future__ import annotations

from collections.abc import Iterable

from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest

__all__ = ["Urgent"]

_PARTS = 4
_LEAST_SLOTS = 8
_LEAST_PER_TENANT = 4
_PER_ENDPOINT = 4


class Urgent:
    """Endpoints with urgent deliveries, and the slots for them. Belongs to the event loop.

    They have slots of their own, so that neither a backlog nor a pause or a rate limit holds them up. One endpoint gets
    several, so that a test that hangs does not hold up the next; one tenant gets a quarter of them at most.

    Args:
        concurrency: Attempts at a time in this process, of which a quarter more may be urgent.
    """

    def __init__(self, concurrency: int) -> None:
        self._slots = max(concurrency // _PARTS, _LEAST_SLOTS)
        self._per_tenant = max(self._slots // _PARTS, _LEAST_PER_TENANT)
        self._waiting: dict[int, None] = {}
        # Endpoints that got no slot, or not enough: they ask again when an urgent attempt is over.
        self._blocked: dict[int, None] = {}
        self._in_flight: dict[int, int] = {}
        self.in_flight = 0
        self.tenants: dict[str, int] = {}
        """Urgent attempts under way by tenant."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def capacity(self) -> Capacity:
        """The slots that may be given away."""
        free = self._slots - self.in_flight
        return Capacity(free, 0, free, self._per_tenant)

    def add(self, endpoints: Iterable[int]) -> None:
        """These endpoints have urgent deliveries."""
        self._waiting.update(dict.fromkeys(endpoints))

    def take(self) -> list[SlotRequest]:
        """Take the endpoints out. Those for which there is no slot now are blocked."""
        requests = []
        for endpoint in self._waiting:
            slots = min(_PER_ENDPOINT - self._in_flight.get(endpoint, 0), self._slots - self.in_flight)
            if slots > 0:
                requests.append(SlotRequest(endpoint, Lane.HEALTHY, slots, self._in_flight.get(endpoint, 0)))
            else:
                self._blocked[endpoint] = None
        self._waiting.clear()
        return requests

    def block(self, endpoints: Iterable[int]) -> None:
        """These got no slot, or have more urgent deliveries than they got slots."""
        self._blocked.update(dict.fromkeys(endpoints))

    def started(self, endpoint: int, tenant: str) -> None:
        """An urgent attempt starts."""
        self.in_flight += 1
        self._in_flight[endpoint] = self._in_flight.get(endpoint, 0) + 1
        self.tenants[tenant] = self.tenants.get(tenant, 0) + 1

    def finished(self, endpoint: int, tenant: str) -> None:
        """An urgent attempt is over."""
        self.in_flight -= 1
        self._in_flight[endpoint] -= 1
        if not self._in_flight[endpoint]:
            del self._in_flight[endpoint]
        self.tenants[tenant] -= 1
        if not self.tenants[tenant]:
            del self.tenants[tenant]
        self._waiting.update(self._blocked)
        self._blocked.clear()
