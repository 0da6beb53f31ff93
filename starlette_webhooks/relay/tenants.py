"""Decides which tenant a worker of the relay serves next."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from anyio.streams.memory import MemoryObjectSendStream

from starlette_webhooks.relay.backoff import backoff

__all__ = ["TenantQueue"]


class TenantQueue:
    """Tenants with events to forward: ready, served by a worker, or delayed after a failure.

    Args:
        ready: The queue of tenants for the workers. A tenant is there, or with a worker, at most once.
        wake: Called when a tenant was delayed, so that its release is scheduled.
    """

    def __init__(self, ready: MemoryObjectSendStream[str], wake: Callable[[], None]) -> None:
        self._ready = ready
        self._wake = wake
        self._delayed: list[tuple[float, str]] = []
        self._busy: dict[str, bool] = {}
        self._failures: dict[str, int] = {}

    def fails(self, tenant: str) -> bool:
        """Return whether the tenant's last event could not be forwarded."""
        return tenant in self._failures

    def add(self, tenant: str) -> None:
        """Note that a tenant has events. A busy tenant is served again afterwards, and a delayed one stays delayed."""
        if tenant in self._busy:
            self._busy[tenant] = True
            return
        self._busy[tenant] = False
        self._ready.send_nowait(tenant)

    def done(self, tenant: str, *, more: bool) -> None:
        """Note that a worker has served the tenant."""
        self._failures.pop(tenant, None)
        again = self._busy.pop(tenant)
        if more or again:
            self.add(tenant)

    def progressed(self, tenant: str) -> None:
        """Note that an event of the tenant was forwarded, so that the next failure is the first in a row."""
        self._failures.pop(tenant, None)

    def delay(self, tenant: str, now: float, retry_after: float | None) -> None:
        """Delay a tenant that a worker failed to serve."""
        failures = self._failures[tenant] = self._failures.get(tenant, 0) + 1
        heapq.heappush(self._delayed, (now + backoff(failures, retry_after=retry_after), tenant))
        self._wake()

    def release(self, now: float) -> float:
        """Release tenants whose delay has ended. Returns the seconds until the next one is due."""
        while self._delayed and self._delayed[0][0] <= now:
            _, tenant = heapq.heappop(self._delayed)
            self._ready.send_nowait(tenant)
        return self._delayed[0][0] - now if self._delayed else math.inf
