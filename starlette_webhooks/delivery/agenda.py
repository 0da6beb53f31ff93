"""Decides when to ask the store for which endpoints: now, at a certain time, or at the next scan of all of them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Sequence

from starlette_webhooks.delivery.limits import Limits
from starlette_webhooks.delivery.pacing import Pace
from starlette_webhooks.delivery.ready import Ready
from starlette_webhooks.delivery.slots import SlotRequest
from starlette_webhooks.delivery.store import DeliveryStore

__all__ = ["Agenda"]

_SCAN_SHARE = 0.05
# A scan looks ahead further than the next scan, so that deliveries that become due in between are made on time.
_HORIZON = 1.5


class Agenda:
    """The endpoints that have deliveries due now or soon. Belongs to the event loop.

    Args:
        monotonic: Seconds of a clock that only moves forward.
        scan_every: Seconds between two scans of all endpoints.
        unproven: See `ClaimRequest`.
    """

    def __init__(
        self,
        store: DeliveryStore,
        limits: Limits,
        *,
        monotonic: Callable[[], float],
        scan_every: float,
        unproven: Pace | None,
    ) -> None:
        self._store = store
        self._limits = limits
        self._monotonic = monotonic
        self._unproven = unproven
        self._ready = Ready(limits)
        # `_timed` has the earliest time of each endpoint. Later timers of an endpoint expire without effect.
        self._timers: list[tuple[float, int]] = []
        self._timed: dict[int, float] = {}
        self._scan_at = -math.inf
        self._scan_after = 0
        self._least_scan_every = self._scan_every = scan_every

    def __bool__(self) -> bool:
        return bool(self._ready or self._timers)

    def scan_soon(self) -> None:
        """Scan all endpoints at the next opportunity."""
        self._scan_at = -math.inf

    def ask(self, endpoints: Iterable[int]) -> None:
        """Ask for deliveries of these endpoints now, or when their pauses are over."""
        for endpoint in endpoints:
            self._ask_at(-math.inf, endpoint)

    def ask_for(self, due: float, endpoint: int) -> None:
        """Ask for an endpoint's deliveries at that time of the store's clock."""
        self._ask_at(self._monotonic() + (due - self._store.now()) / 1000, endpoint)

    def _ask_at(self, at: float, endpoint: int) -> None:
        now = self._monotonic()
        at = max(at, self._limits.paused_until(endpoint))
        if at <= now:
            self._ready.add(endpoint)
        elif at <= now + self._horizon and at < self._timed.get(endpoint, math.inf):
            self._timed[endpoint] = at
            heapq.heappush(self._timers, (at, endpoint))
        # A scan finds what is due later.

    def finished(self, endpoint: int) -> None:
        """An attempt to the endpoint is over."""
        if self._limits.paused_until(endpoint) <= self._monotonic():
            self._ready.finished(endpoint)
        elif self._ready.remove(endpoint):
            self._ask_at(-math.inf, endpoint)

    def put_back(self, endpoints: Iterable[int]) -> None:
        """Return endpoints that got no slot. They keep their place in the queue unless they have been paused since."""
        now = self._monotonic()
        keep = []
        for endpoint in endpoints:
            if self._limits.paused_until(endpoint) > now:
                self._ask_at(-math.inf, endpoint)
            else:
                keep.append(endpoint)
        self._ready.put_back(keep)

    def take(self) -> list[SlotRequest]:
        """Remove and return the endpoints whose turn it is. See `Ready.take`."""
        return self._ready.take(self._monotonic())

    @property
    def next_at(self) -> float:
        """Return when there is something to do next, by the monotonic clock."""
        at = min(self._scan_at, self._ready.degraded_from())
        return min(at, self._timers[0][0]) if self._timers else at

    @property
    def scan_is_due(self) -> bool:
        """Whether it is time to `scan`."""
        return self._monotonic() >= self._scan_at

    def pass_time(self) -> None:
        """Ask for the endpoints whose time has come."""
        now = self._monotonic()
        while self._timers and self._timers[0][0] <= now:
            at, endpoint = heapq.heappop(self._timers)
            if self._timed.get(endpoint) == at:
                del self._timed[endpoint]
            self._ask_at(at, endpoint)

    async def scan(self) -> Sequence[int]:
        """Look for endpoints with due deliveries: retries, and what other processes added. Return the urgent ones.

        Once a second, or less often if there are so many endpoints that it would take more than 5 % of the time.
        """
        started = self._monotonic()
        self._scan_at = started + self._scan_every
        due_by = self._store.now() + int(self._horizon * 1000)
        after: int | None = self._scan_after
        urgent: Sequence[int] = ()
        while after is not None and not self._ready.full:
            page = await self._store.due(after=after, due_by=due_by, unproven=self._unproven)
            urgent = page.urgent
            for found in page.endpoints:
                if found.failing:
                    self._limits.known_to_fail(found.endpoint)
                self.ask_for(found.due, found.endpoint)
            after = page.after
        # With too many endpoints to hold, the next scan continues where this one ended.
        self._scan_after = after or 0
        self._scan_every = max(self._least_scan_every, (self._monotonic() - started) / _SCAN_SHARE)
        return urgent

    @property
    def _horizon(self) -> float:
        return self._scan_every * _HORIZON
