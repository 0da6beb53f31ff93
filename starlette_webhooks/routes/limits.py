"""What one tenant may ask of a process: calls a second, and calls at a time."""

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
    """A token bucket, and a number of calls in flight, for each tenant. Each process counts for itself.

    Args:
        per_second: Calls a second in the long run; 0 for no limit.
        burst: Calls that may come at once after a pause.
        in_flight: Calls at a time; 0 for no limit.
        clock: Seconds that only grow.
    """

    def __init__(
        self, *, per_second: float, burst: int, in_flight: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._in_flight = in_flight
        self._clock = clock
        # The tenant that called last stands last.
        self._usages: OrderedDict[str, _Usage] = OrderedDict()

    @contextmanager
    def admit(self, tenant: str) -> Iterator[None]:
        """Let a call of this tenant in, for the block.

        Raises:
            TooManyRequests: The tenant calls too often, or has too many calls in flight.
        """
        usage = self._usage_of(tenant)
        if self._in_flight and usage.in_flight >= self._in_flight:
            raise TooManyRequests(
                f"{usage.in_flight} calls are in flight, which is the limit. Wait for one of them.", retry_after=1
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
                f"More than {self._per_second:g} calls a second. Try again after `Retry-After` seconds.",
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
        """Drop the tenant that has not called for the longest time, if its bucket has filled up since."""
        if len(self._usages) <= _REMEMBERED:
            return
        tenant, usage = next(iter(self._usages.items()))
        refilled = usage.tokens + (now - usage.updated) * self._per_second >= self._burst
        if not usage.in_flight and (refilled or not self._per_second):
            del self._usages[tenant]
