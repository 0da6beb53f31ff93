"""The clock of the database, kept by this process's monotonic clock.

Machines differ in their time of day, but a lease, a retry or a rate limit must mean the same to all of them. Each
process repeatedly measures the difference between its monotonic clock and the server's clock, and uses the measurement
with the shortest round trip.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["ServerClock"]

# Clocks drift by about 50 millionths.
_DRIFT = 1e-4


class ServerClock:
    """Seconds since the epoch by the server's clock. Before the first measurement, by this machine's.

    Args:
        monotonic: Seconds of a monotonic clock.
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
        """Compare with the server. `ask` returns the server's time in seconds since the epoch."""
        before = self._monotonic()
        server = ask()
        after = self._monotonic()
        offset, error = server - (before + after) / 2, (after - before) / 2
        known = self._error + (after - self._measured) * _DRIFT
        # A less precise measurement counts only if it contradicts the other: the server's clock was set, or it is
        # another server.
        if error <= known or abs(offset - self._offset) > error + known:
            self._offset, self._error, self._measured = offset, error, after
