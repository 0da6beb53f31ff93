"""Limits how many attempts run at a time: in total, to one endpoint, and to endpoints that are slow or fail.

An endpoint starts with one attempt at a time. Each success doubles this, up to the setting, and each failure halves it.
If most attempts fail, a failure reduces it to one, and each further failure pauses the endpoint for longer. An endpoint
that fails occasionally keeps its queue moving. Degraded endpoints share half of the slots, and a quarter is reserved
for healthy ones. A healthy endpoint therefore gets a slot, and time of the process, however many dead endpoints there
are. Degraded endpoints start in small groups: otherwise, those that ran into the same timeout would all start together
again and keep the event loop busy.

All times here are seconds of a monotonic clock, so that pauses end in time even if the system's clock is set.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

from starlette_webhooks.delivery.retry import pause
from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest
from starlette_webhooks.token_buckets import TokenBuckets

__all__ = ["SLOW_MS", "Limits"]

SLOW_MS = 2000
_KNOWN = 10_000
_DEGRADED_PARTS = 8
_DEGRADED_LEAST = 4
_DEGRADED_EVERY = 0.02
# The weight of one attempt in the failure rate: about the last 32 attempts matter.
_WEIGHT = 1 / 32
_MOSTLY = 0.5
# A person may end the pauses of an endpoint this often, then once in as many seconds.
_RESUMES = 10
_RESUME_EVERY = 6.0
# And the pauses of all endpoints of a tenant this often per minute.
_TENANT_RESUMES = 100


class _Endpoint:
    """What this process knows about an endpoint.

    Attributes:
        most: The maximum of attempts at a time.
        failures: Counted failures in a row.
        failing: The recent failure rate, from 0 to 1.
        resumed_until: Until when requests to end a pause have been used.
        tenant: Whose endpoint it is. Empty until its first attempt that was not urgent.
    """

    __slots__ = ("failing", "failures", "in_flight", "lane", "most", "paused_until", "resumed_until", "tenant")

    def __init__(self) -> None:
        self.most = 1
        self.failures = 0
        self.failing = _MOSTLY
        self.lane = Lane.UNKNOWN
        self.in_flight = 0
        self.paused_until = -math.inf
        self.resumed_until = -math.inf
        self.tenant = ""


class Limits:
    """Tracks the running attempts and the state of the endpoints. Used on the event loop only.

    Args:
        concurrency: Attempts at a time.
        per_endpoint: Attempts at a time to one endpoint.
        random: A number from 0 to 1, for the jitter of pauses.
        known: The maximum of endpoints to remember. Above it, the oldest one without attempts is forgotten.
        clock: The monotonic clock.
    """

    def __init__(
        self,
        concurrency: int,
        per_endpoint: int,
        random: Callable[[], float] = random.random,
        *,
        known: int = _KNOWN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._concurrency = concurrency
        self._per_endpoint = per_endpoint
        self._random = random
        self._known = known
        self._endpoints: dict[int, _Endpoint] = {}
        self._degraded = 0
        self._most_degraded = max(concurrency // 2, 1)
        self._degraded_at = -math.inf
        self._resumes = TokenBuckets(per_second=_TENANT_RESUMES / 60, capacity=_TENANT_RESUMES, clock=clock)
        self.in_flight = 0
        self.tenants: dict[str, int] = {}
        """Running attempts by tenant."""

    def __len__(self) -> int:
        return len(self._endpoints)

    def capacity(self, now: float) -> Capacity:
        """Return the free slots."""
        degraded = 0
        if now >= self._degraded_at:
            at_once = max(self._most_degraded // _DEGRADED_PARTS, _DEGRADED_LEAST)
            degraded = min(self._most_degraded - self._degraded, at_once)
        return Capacity(self._concurrency - self.in_flight, self._concurrency // 4, degraded)

    def degraded_from(self) -> float:
        """Return when degraded endpoints may get more slots, or infinity if one must be released first."""
        return self._degraded_at if self.capacity(math.inf).of(Lane.DEGRADED) > 0 else math.inf

    def lane(self, endpoint: int) -> Lane:
        """Return the lane of an endpoint."""
        known = self._endpoints.get(endpoint)
        return Lane.UNKNOWN if known is None else known.lane

    def request(self, endpoint: int) -> SlotRequest:
        """Return the slots that an endpoint may have now."""
        known = self._endpoints.get(endpoint)
        if known is None:
            return SlotRequest(endpoint, Lane.UNKNOWN, 1, 0)
        return SlotRequest(endpoint, known.lane, known.most - known.in_flight, known.in_flight)

    def known_to_fail(self, endpoint: int) -> None:
        """Note that the last attempt failed, as the store says. What this process has observed takes precedence."""
        if self.lane(endpoint) is Lane.UNKNOWN:
            self._endpoint(endpoint).lane = Lane.DEGRADED

    def started(self, endpoint: int, tenant: str, now: float) -> Lane:
        """Count an attempt that starts, and return the lane in which it counts."""
        known = self._endpoint(endpoint)
        known.tenant = tenant
        known.in_flight += 1
        self.in_flight += 1
        if known.lane is Lane.DEGRADED:
            self._degraded += 1
            self._degraded_at = now + _DEGRADED_EVERY
        self.tenants[tenant] = self.tenants.get(tenant, 0) + 1
        return known.lane

    def finished(self, endpoint: int, tenant: str, lane: Lane) -> None:
        """Count an attempt that has ended."""
        self._endpoint(endpoint).in_flight -= 1
        self.in_flight -= 1
        self._degraded -= lane is Lane.DEGRADED
        self.tenants[tenant] -= 1
        if not self.tenants[tenant]:
            del self.tenants[tenant]

    def paused_until(self, endpoint: int) -> float:
        """Return when an endpoint may have another attempt, or minus infinity if it is not paused."""
        known = self._endpoints.get(endpoint)
        return -math.inf if known is None else known.paused_until

    def resume(self, endpoint: int, now: float) -> None:
        """End an endpoint's pause, because somebody asked for it.

        At most ten times a minute, and a hundred times for all endpoints of a tenant: small requests must not become
        many large deliveries to a server that fails.
        """
        known = self._endpoints.get(endpoint)
        if known is None or known.paused_until <= now:
            return
        used = max(known.resumed_until, now - (_RESUMES - 1) * _RESUME_EVERY)
        if used <= now and self._may_resume(known.tenant):
            known.resumed_until = used + _RESUME_EVERY
            known.paused_until = -math.inf

    def _may_resume(self, tenant: str) -> bool:
        return not tenant or not self._resumes.take(tenant)

    def learn(self, endpoint: int, now: float, *, ok: bool, slow: bool, throttled: bool) -> None:
        """Learn from the result of an attempt. `throttled` only halves the slots of an endpoint that mostly fails."""
        known = self._endpoint(endpoint)
        if ok:
            # After one success, the endpoint no longer mostly fails. Its queue would otherwise take minutes to recover.
            known.failing = min(known.failing * (1 - _WEIGHT), _MOSTLY)
            known.most = min(known.most * 2, self._per_endpoint)
            known.failures = 0
            known.paused_until = -math.inf
            known.lane = Lane.DEGRADED if slow else Lane.HEALTHY
            return
        known.failing += (1 - known.failing) * _WEIGHT
        # A slow failure, such as a timeout, occupies a slot for as long. A single one is enough.
        mostly = slow or known.failing >= _MOSTLY
        known.most = 1 if mostly and not throttled else max(known.most // 2, 1)
        if mostly:
            known.lane = Lane.DEGRADED
            # Attempts that were already running when the endpoint began to fail say nothing new.
            if now >= known.paused_until:
                known.failures += 1
                known.paused_until = now + pause(known.failures, self._random)

    def _endpoint(self, endpoint: int) -> _Endpoint:
        known = self._endpoints.get(endpoint)
        if known is None:
            if len(self._endpoints) >= self._known:
                # At most `concurrency` endpoints have attempts, so this ends soon.
                idle = next((number for number, one in self._endpoints.items() if not one.in_flight), None)
                if idle is not None:  # pragma: no branch  More endpoints than slots would have to have attempts.
                    del self._endpoints[idle]
            known = self._endpoints[endpoint] = _Endpoint()
        return known
