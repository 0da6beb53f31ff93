"""Limits what a tenant asks of a process: calls per second and at a time, test events per day, and deliveries."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette_webhooks.exceptions import TooManyRequests
from starlette_webhooks.token_buckets import TokenBuckets

__all__ = ["DailyQuota", "OpenedSessions", "RequestedDeliveries", "TenantLimits"]

_MINUTE = 60
_DAY = 86_400
# The size of an event's rows and index entries in addition to its payload.
_ROWS = 512
# A tenant may request this many times as many deliveries as for one endpoint.
_ALL_ENDPOINTS = 10


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
            what = "1 call is" if in_flight == 1 else f"{in_flight} calls are"
            raise TooManyRequests(f"{what} in flight, which is the limit. Wait for one to end.", retry_after=1)
        self.charge(tenant, 1)
        self._in_flight[tenant] += 1
        try:
            yield
        finally:
            self._in_flight[tenant] -= 1
            if not self._in_flight[tenant]:
                del self._in_flight[tenant]

    def charge(self, tenant: str, calls: int) -> None:
        """Count calls of this tenant: one that is admitted, or as many more as it costs.

        Raises:
            TooManyRequests: The tenant calls too often.
        """
        if wait := self._buckets.take(tenant, calls):
            raise TooManyRequests(
                f"More than {self._per_second:g} calls per second. Large ones count as several. Try again after "
                "`Retry-After` seconds.",
                retry_after=wait,
            )


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


class RequestedDeliveries:
    """Deliveries that a tenant causes by small calls. Each process counts separately.

    Such a delivery ignores pauses and rate limits, or goes to a server that has never been called. Without a limit, a
    few bytes each would become many large requests to a server of the tenant's choice.

    Args:
        per_minute: Tests and resends of an endpoint, and tests for all endpoints. Ten times as many of a tenant in all.
            0 means no limit.
        endpoints: The maximum of endpoints of a tenant, which it may also create per minute.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, per_minute: int, endpoints: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._deliveries = TokenBuckets(per_second=per_minute / _MINUTE, capacity=per_minute, clock=clock)
        most = _ALL_ENDPOINTS * per_minute
        self._of_tenant = TokenBuckets(per_second=most / _MINUTE, capacity=most, clock=clock)
        self._endpoints = TokenBuckets(per_second=endpoints / _MINUTE, capacity=endpoints, clock=clock)

    def take(self, tenant: str, endpoint: str = "") -> None:
        """Count a test or a resend to an endpoint, or a test for all endpoints.

        Raises:
            TooManyRequests: There were too many in the last minute.
        """
        # An id has no space.
        name = f"{endpoint} {tenant}"
        if wait := self._deliveries.wait(name):
            raise self._too_many(self._per_minute, wait)
        if wait := self._of_tenant.take(tenant):
            raise self._too_many(_ALL_ENDPOINTS * self._per_minute, wait)
        # Last, so that what the limit of the tenant refuses does not count for the endpoint.
        self._deliveries.take(name)

    def _too_many(self, most: int, wait: int) -> TooManyRequests:
        return TooManyRequests(
            f"More than {most} tests or resends per minute. Try again after `Retry-After` seconds.",
            code="too_many_deliveries",
            retry_after=wait,
        )

    def create(self, tenant: str) -> None:
        """Count a new endpoint. Its first deliveries are not held back.

        Raises:
            TooManyRequests: There were too many in the last minute.
        """
        if self._per_minute and (wait := self._endpoints.take(tenant)):
            raise TooManyRequests(
                "Too many endpoints were created in a short time. Try again after `Retry-After` seconds.",
                code="too_many_endpoints",
                retry_after=wait,
            )


class OpenedSessions:
    """Portal sessions that a tenant opens. Each process counts separately.

    A link works once: for each opened one, a row is stored until it would have expired, up to seven days later.

    Args:
        most: Sessions that may be opened together after a pause.
        every: Seconds until another one may be opened.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, *, most: int = 100, every: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = TokenBuckets(per_second=1 / every, capacity=most, clock=clock)

    def take(self, tenant: str) -> None:
        """Count an opened session.

        Raises:
            TooManyRequests: The tenant has opened too many in a short time.
        """
        if wait := self._buckets.take(tenant):
            raise TooManyRequests(
                f"Too many links were opened in a short time. Try again in {wait} seconds.",
                code="too_many_sessions",
                retry_after=wait,
            )
