"""Limits the calls of a tenant to a process: calls per second, and calls at a time."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette_webhooks.exceptions import TooManyRequests

__all__ = ["TenantLimits"]

_REMEMBERED = 10_000


class _Usage:
    __slots__ = ("in_flight", "tokens", "updated")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.updated = now
        self.in_flight = 0


class TenantLimits:
    """A token bucket and a count of calls in flight per tenant. Each process counts separately.

    Args:
        per_second: Calls per second in the long run. 0 means no limit.
        burst: Calls that may come together after a pause.
        in_flight: Calls at a time. 0 means no limit.
        clock: Seconds of a monotonic clock.
    """

    def __init__(
        self, *, per_second: float, burst: int, in_flight: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._in_flight = in_flight
        self._clock = clock
        # The tenant of the latest call is at the end.
        self._usages: OrderedDict[str, _Usage] = OrderedDict()

    @contextmanager
    def admit(self, tenant: str) -> Iterator[None]:
        """Admit a call of this tenant, for the duration of the block.

        Raises:
            TooManyRequests: The tenant calls too often, or has too many calls in flight.
        """
        usage = self._usage_of(tenant)
        if self._in_flight and usage.in_flight >= self._in_flight:
            raise TooManyRequests(
                f"{usage.in_flight} calls are in flight, which is the limit. Wait for one to end.", retry_after=1
            )
        self._take_token(usage)
        usage.in_flight += 1
        try:
            yield
        finally:
            usage.in_flight -= 1

    def _take_token(self, usage: _Usage) -> None:
        if not self._per_second:
            return
        if usage.tokens < 1:
            wait = math.ceil((1 - usage.tokens) / self._per_second)
            raise TooManyRequests(
                f"More than {self._per_second:g} calls per second. Try again after `Retry-After` seconds.",
                retry_after=max(1, wait),
            )
        usage.tokens -= 1

    def _usage_of(self, tenant: str) -> _Usage:
        now = self._clock()
        usage = self._usages.get(tenant)
        if usage is None:
            usage = self._usages[tenant] = _Usage(self._burst, now)
            self._forget(now)
        else:
            usage.tokens = min(self._burst, usage.tokens + (now - usage.updated) * self._per_second)
            usage.updated = now
            self._usages.move_to_end(tenant)
        return usage

    def _forget(self, now: float) -> None:
        """Drop the tenant whose last call is the oldest, if its bucket is full again."""
        if len(self._usages) <= _REMEMBERED:
            return
        tenant, usage = next(iter(self._usages.items()))
        refilled = usage.tokens + (now - usage.updated) * self._per_second >= self._burst
        if not usage.in_flight and (refilled or not self._per_second):
            del self._usages[tenant]
