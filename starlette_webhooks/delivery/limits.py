"""How many attempts may be under way: in total, to one endpoint, and to endpoints that are slow or fail.

An endpoint starts with one attempt at a time. Each success doubles that, up to the setting; a failure halves it. Where
most attempts fail, a failure takes it back to one, and further failures to none for a moment that grows with each; an
endpoint that fails now and then keeps its queue moving. Degraded endpoints share half of the slots, and a
quarter is kept for healthy ones. So a healthy endpoint finds a slot, and a process with time for it, however many dead
endpoints there are. Degraded endpoints start a few at a time: those that ran into the same timeout would otherwise all
start again at once and keep the process from everything else meanwhile.

All times here are seconds of one clock that only moves forward, never the time of day: a pause is over when it should
be, whatever happens to the system's clock.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from starlette_webhooks.delivery.retry import pause
from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest

__all__ = ["SLOW_MS", "Limits"]

SLOW_MS = 2000
_KNOWN = 10_000
_DEGRADED_PARTS = 8
_DEGRADED_LEAST = 4
_DEGRADED_EVERY = 0.02
# How much one attempt counts in the rate of failure: about the last 32 matter.
_WEIGHT = 1 / 32
_MOSTLY = 0.5


class _Endpoint:
    """What is known of an endpoint.

    Attributes:
        most: How many attempts it may have at a time.
        failures: Failures in a row that counted.
        failing: The share of attempts that failed lately, from 0 to 1.
    """

    __slots__ = ("failing", "failures", "in_flight", "lane", "most", "paused_until")

    def __init__(self) -> None:
        self.most = 1
        self.failures = 0
        self.failing = _MOSTLY
        self.lane = Lane.UNKNOWN
        self.in_flight = 0
        self.paused_until = -math.inf


class Limits:
    """The attempts under way, and what is known of the endpoints. Belongs to the event loop.

    Args:
        concurrency: Attempts at a time.
        per_endpoint: Attempts at a time to one endpoint.
        random: A number from 0 to 1, for the jitter of pauses.
        known: Endpoints to remember. The least recently added one without attempts is forgotten for a new one.
    """

    def __init__(
        self,
        concurrency: int,
        per_endpoint: int,
        random: Callable[[], float] = random.random,
        *,
        known: int = _KNOWN,
    ) -> None:
        self._concurrency = concurrency
        self._per_endpoint = per_endpoint
        self._random = random
        self._known = known
        self._endpoints: dict[int, _Endpoint] = {}
        self._degraded = 0
        self._most_degraded = max(concurrency // 2, 1)
        self._degraded_at = -math.inf
        self.in_flight = 0
        self.tenants: dict[str, int] = {}
        """Attempts under way by tenant."""

    def __len__(self) -> int:
        return len(self._endpoints)

    def capacity(self, now: float) -> Capacity:
        """The slots that may be given away."""
        degraded = 0
        if now >= self._degraded_at:
            at_once = max(self._most_degraded // _DEGRADED_PARTS, _DEGRADED_LEAST)
            degraded = min(self._most_degraded - self._degraded, at_once)
        return Capacity(self._concurrency - self.in_flight, self._concurrency // 4, degraded)

    def degraded_from(self) -> float:
        """When degraded endpoints may have more slots; infinity if one must be given back first."""
        return self._degraded_at if self.capacity(math.inf).of(Lane.DEGRADED) > 0 else math.inf

    def lane(self, endpoint: int) -> Lane:
        """The lane of an endpoint."""
        known = self._endpoints.get(endpoint)
        return Lane.UNKNOWN if known is None else known.lane

    def request(self, endpoint: int) -> SlotRequest:
        """What an endpoint may have now."""
        known = self._endpoints.get(endpoint)
        if known is None:
            return SlotRequest(endpoint, Lane.UNKNOWN, 1, 0)
        return SlotRequest(endpoint, known.lane, known.most - known.in_flight, known.in_flight)

    def known_to_fail(self, endpoint: int) -> None:
        """The store says that the last attempt failed. What this process has seen itself counts more."""
        if self.lane(endpoint) is Lane.UNKNOWN:
            self._endpoint(endpoint).lane = Lane.DEGRADED

    def started(self, endpoint: int, tenant: str, now: float) -> Lane:
        """An attempt starts. Returns the lane in which it counts."""
        known = self._endpoint(endpoint)
        known.in_flight += 1
        self.in_flight += 1
        if known.lane is Lane.DEGRADED:
            self._degraded += 1
            self._degraded_at = now + _DEGRADED_EVERY
        self.tenants[tenant] = self.tenants.get(tenant, 0) + 1
        return known.lane

    def finished(self, endpoint: int, tenant: str, lane: Lane) -> None:
        """An attempt is over."""
        self._endpoint(endpoint).in_flight -= 1
        self.in_flight -= 1
        self._degraded -= lane is Lane.DEGRADED
        self.tenants[tenant] -= 1
        if not self.tenants[tenant]:
            del self.tenants[tenant]

    def paused_until(self, endpoint: int) -> float:
        """When an endpoint may have another attempt; minus infinity if it is not paused."""
        known = self._endpoints.get(endpoint)
        return -math.inf if known is None else known.paused_until

    def resume(self, endpoint: int) -> None:
        """End an endpoint's pause."""
        known = self._endpoints.get(endpoint)
        if known is not None:
            known.paused_until = -math.inf

    def learn(self, endpoint: int, now: float, *, ok: bool, slow: bool, throttled: bool) -> None:
        """How an attempt went. `throttled` halves what the endpoint gets, however many others fail."""
        known = self._endpoint(endpoint)
        if ok:
            # From mostly failing to working takes one success, or a queue would take minutes to get going again.
            known.failing = min(known.failing * (1 - _WEIGHT), _MOSTLY)
            known.most = min(known.most * 2, self._per_endpoint)
            known.failures = 0
            known.paused_until = -math.inf
            known.lane = Lane.DEGRADED if slow else Lane.HEALTHY
            return
        known.failing += (1 - known.failing) * _WEIGHT
        # A failure that takes long, as a timeout, holds a slot for as long. A single one is enough.
        mostly = slow or known.failing >= _MOSTLY
        known.most = 1 if mostly and not throttled else max(known.most // 2, 1)
        if mostly:
            known.lane = Lane.DEGRADED
            # Attempts that were already under way when it began to fail say nothing new.
            if now >= known.paused_until:
                known.failures += 1
                known.paused_until = now + pause(known.failures, self._random)

    def _endpoint(self, endpoint: int) -> _Endpoint:
        known = self._endpoints.get(endpoint)
        if known is None:
            if len(self._endpoints) >= self._known:
                # At most `concurrency` of them are busy, so this ends soon.
                idle = next((number for number, one in self._endpoints.items() if not one.in_flight), None)
                if idle is not None:
                    del self._endpoints[idle]
            known = self._endpoints[endpoint] = _Endpoint()
        return known
