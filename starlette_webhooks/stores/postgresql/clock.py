"""The clock of the database, kept by this process's monotonic clock.

Machines differ in their time of day, and a lease, a retry or a rate limit must mean the same to all of them. Each
process measures how far its monotonic clock is behind the server's clock, again and again, and trusts the measurement
with the shortest round trip.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["ServerClock"]

# Clocks drift by some 50 millionths.
_DRIFT = 1e-4


class ServerClock:
    """Seconds since the epoch by the server's clock. Before the first measurement by this machine's.

    Args:
        monotonic: Seconds that only grow.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset = time.time() - monotonic()
        self._error = float("inf")
        self._measured = monotonic()

    def __call__(self) -> float:
        return self._monotonic() + self._offset

    @property
    def ahead(self) -> float:
        """Seconds by which the server is ahead of this machine's time of day."""
        return self() - time.time()

    def measure(self, ask: Callable[[], float]) -> None:
        """Compare with the server. `ask` returns its time, in seconds since the epoch."""
        before = self._monotonic()
        server = ask()
        after = self._monotonic()
        offset, error = server - (before + after) / 2, (after - before) / 2
        known = self._error + (after - self._measured) * _DRIFT
        # A worse measurement counts only if both cannot be true: the server's clock was set, or is another's.
        if error <= known or abs(offset - self._offset) > error + known:
            self._offset, self._error, self._measured = offset, error, after
