"""Token buckets: limits of a rate, with a burst after a pause."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["TokenBuckets"]

_REMEMBERED = 10_000


class _Bucket:
    __slots__ = ("tokens", "updated")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.updated = now


class TokenBuckets:
    """A token bucket per tenant, full at first.

    Args:
        per_second: Tokens that flow into a bucket. 0 means no limit.
        capacity: The maximum of tokens in a bucket.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, *, per_second: float, capacity: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._capacity = capacity
        self._clock = clock
        # The tenant of the latest call is at the end.
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, tenant: str, amount: float = 1) -> int:
        """Take tokens if there are enough, and return 0. Otherwise return the seconds until there are, at least 1."""
        wait = self.wait(tenant, amount)
        if self._per_second and not wait:
            self._buckets[tenant].tokens -= min(amount, self._capacity)
        return wait

    def wait(self, tenant: str, amount: float = 1) -> int:
        """Return what `take` would return, without taking tokens."""
        if not self._per_second:
            return 0
        # What is more than a bucket holds takes a full one.
        amount = min(amount, self._capacity)
        bucket = self._refilled(tenant)
        return 0 if bucket.tokens >= amount else max(1, math.ceil((amount - bucket.tokens) / self._per_second))

    def _refilled(self, tenant: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(tenant)
        if bucket is None:
            bucket = self._buckets[tenant] = _Bucket(self._capacity, now)
            self._forget(now)
        else:
            bucket.tokens = min(self._capacity, bucket.tokens + (now - bucket.updated) * self._per_second)
            bucket.updated = now
            self._buckets.move_to_end(tenant)
        return bucket

    def _forget(self, now: float) -> None:
        """Drop the tenant whose last call is the oldest, if its bucket is full again."""
        if len(self._buckets) <= _REMEMBERED:
            return
        tenant, bucket = next(iter(self._buckets.items()))
        if bucket.tokens + (now - bucket.updated) * self._per_second >= self._capacity:
            del self._buckets[tenant]
