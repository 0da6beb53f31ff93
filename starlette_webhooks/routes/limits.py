"""Limits what a tenant asks of a process: calls per second, calls at a time, and bytes of test events per day."""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette_webhooks.exceptions import TooManyRequests

__all__ = ["DailyQuota", "TenantLimits", "TokenBuckets"]

_REMEMBERED = 10_000
_DAY = 86_400
# The size of an event's rows and index entries in addition to its payload.
_ROWS = 512


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
        if not self._per_second:
            return 0
        bucket = self._refilled(tenant)
        if bucket.tokens < amount:
            return max(1, math.ceil((amount - bucket.tokens) / self._per_second))
        bucket.tokens -= amount
        return 0

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


class TenantLimits:
    """The limit of calls per second, and of calls in flight. Each process counts separately.

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
        self._buckets = TokenBuckets(per_second=per_second, capacity=burst, clock=clock)
        self._most_in_flight = in_flight
        self._in_flight: Counter[str] = Counter()

    @contextmanager
    def admit(self, tenant: str) -> Iterator[None]:
        """Admit a call of this tenant, for the duration of the block.

        Raises:
            TooManyRequests: The tenant calls too often, or has too many calls in flight.
        """
        in_flight = self._in_flight[tenant]
        if self._most_in_flight and in_flight >= self._most_in_flight:
            raise TooManyRequests(
                f"{in_flight} calls are in flight, which is the limit. Wait for one to end.", retry_after=1
            )
        if wait := self._buckets.take(tenant):
            raise TooManyRequests(
                f"More than {self._per_second:g} calls per second. Try again after `Retry-After` seconds.",
                retry_after=wait,
            )
        self._in_flight[tenant] += 1
        try:
            yield
        finally:
            self._in_flight[tenant] -= 1
            if not self._in_flight[tenant]:
                del self._in_flight[tenant]


class DailyQuota:
    """Bytes that a tenant may store with its calls per day, such as test events. Each process counts separately.

    Args:
        bytes_per_day: 0 means no limit.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, bytes_per_day: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bytes = bytes_per_day
        self._buckets = TokenBuckets(per_second=bytes_per_day / _DAY, capacity=bytes_per_day, clock=clock)

    def take(self, tenant: str, size: int) -> None:
        """Count an event with a payload of this size.

        Raises:
            TooManyRequests: The tenant has used its quota.
        """
        if wait := self._buckets.take(tenant, size + _ROWS):
            raise TooManyRequests(
                f"Test events have used the quota of {self._bytes} bytes per day. Send smaller ones, or fewer.",
                code="quota_exceeded",
                retry_after=wait,
            )
