"""Paces deliveries: by an endpoint's own rate limit, and slowly to a server that has never accepted one.

Customers choose URLs. Until a server has answered 2xx, nobody knows whether it wants deliveries, and many large ones
would be an attack on it.

The functions are pure. Times are milliseconds since the epoch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["UNPROVEN", "Pace", "is_proven", "pace_of", "server_of"]

_BURST_SECONDS = 0.1
_SERVER = re.compile(r"[^/?#]*//[^/?#]*")


@dataclass(frozen=True, slots=True)
class Pace:
    """A limit of deliveries to an endpoint.

    Attributes:
        per_second: Deliveries per second in the long run.
        burst: Deliveries that may start together.
    """

    per_second: int
    burst: int

    @property
    def interval(self) -> float:
        """Milliseconds between two deliveries."""
        return 1000 / self.per_second

    def start(self, paced_until: float, now: int) -> float:
        """Return from when deliveries count: those of a burst count for the time before now."""
        return max(paced_until, now - (self.burst - 1) * self.interval)

    def allowed(self, paced_until: float, now: int) -> int:
        """Return how many deliveries may start now."""
        return int((now - self.start(paced_until, now)) / self.interval + 1e-6) + 1


UNPROVEN = Pace(per_second=1, burst=10)
"""The pace of an endpoint whose server has never accepted a delivery."""


def pace_of(rate_limit: int | None, unproven: Pace | None) -> Pace | None:
    """Return the pace of an endpoint, or None if it has none.

    Args:
        rate_limit: Its own limit, in deliveries per second.
        unproven: The pace until its server has accepted a delivery. None if it has.
    """
    if rate_limit is None:
        return unproven
    # Deliveries for a tenth of a second may start together, so that high rates need no claim for each delivery.
    burst = max(int(rate_limit * _BURST_SECONDS), 1)
    if unproven is None:
        return Pace(rate_limit, burst)
    return Pace(min(rate_limit, unproven.per_second), min(burst, unproven.burst))


def server_of(url: str) -> str:
    """Return the part of a URL that names its server: the scheme, the host and the port, as they are written."""
    match = _SERVER.match(url)
    return url if match is None else match[0]


def is_proven(url: str, server: str | None) -> bool:
    """Return whether a URL belongs to the server that has accepted a delivery. A moved endpoint proves itself again."""
    return server is not None and url.startswith(server) and url[len(server) : len(server) + 1] in "/?#"
