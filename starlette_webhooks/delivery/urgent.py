"""Deliveries that a person requested, by a test or a resend, and waits for."""

from __future__ import annotations

from collections.abc import Iterable

from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest

__all__ = ["Urgent"]

_PARTS = 4
_LEAST_SLOTS = 8
_LEAST_PER_TENANT = 4
_PER_ENDPOINT = 4


class Urgent:
    """Endpoints with urgent deliveries, and their slots. Used on the event loop only.

    Urgent deliveries have their own slots, so that a backlog, a pause or a rate limit does not delay them. One endpoint
    gets several, so that a test that hangs does not delay the next. One tenant gets at most a quarter of them.

    Args:
        concurrency: The maximum of other attempts. A quarter of this number may run in addition, as urgent ones.
    """

    def __init__(self, concurrency: int) -> None:
        self._slots = max(concurrency // _PARTS, _LEAST_SLOTS)
        self._per_tenant = max(self._slots // _PARTS, _LEAST_PER_TENANT)
        self._waiting: dict[int, None] = {}
        # Endpoints that got too few slots. They ask again when an urgent attempt has ended.
        self._blocked: dict[int, None] = {}
        self._in_flight: dict[int, int] = {}
        self.in_flight = 0
        self.tenants: dict[str, int] = {}
        """Running urgent attempts by tenant."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def capacity(self) -> Capacity:
        """Return the free slots."""
        free = self._slots - self.in_flight
        return Capacity(free, 0, free, self._per_tenant)

    def add(self, endpoints: Iterable[int]) -> None:
        """These endpoints have urgent deliveries."""
        self._waiting.update(dict.fromkeys(endpoints))

    def take(self) -> list[SlotRequest]:
        """Remove and return the endpoints. Those without a free slot are blocked."""
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
        """Note endpoints that got fewer slots than they have urgent deliveries."""
        self._blocked.update(dict.fromkeys(endpoints))

    def started(self, endpoint: int, tenant: str) -> None:
        """Count an urgent attempt that starts."""
        self.in_flight += 1
        self._in_flight[endpoint] = self._in_flight.get(endpoint, 0) + 1
        self.tenants[tenant] = self.tenants.get(tenant, 0) + 1

    def finished(self, endpoint: int, tenant: str) -> None:
        """Count an urgent attempt that has ended."""
        self.in_flight -= 1
        self._in_flight[endpoint] -= 1
        if not self._in_flight[endpoint]:
            del self._in_flight[endpoint]
        self.tenants[tenant] -= 1
        if not self.tenants[tenant]:
            del self.tenants[tenant]
        self._waiting.update(self._blocked)
        self._blocked.clear()
