"""Detects that the system's clock was set, manually, by a time server or after the machine was suspended."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["ClockWatch"]

_TOLERANCE = 1.0
_SETTLING = 600.0


class ClockWatch:
    """Compares the time of day with a monotonic clock.

    Args:
        now: Milliseconds since the epoch.
        monotonic: Seconds of a monotonic clock.
        tolerance: Seconds of difference between two calls that are ignored, since clocks drift and are adjusted slowly.
        settling: Seconds after a jump during which the clock is not trusted, since it may be set again.
    """

    def __init__(
        self,
        now: Callable[[], int],
        monotonic: Callable[[], float],
        *,
        tolerance: float = _TOLERANCE,
        settling: float = _SETTLING,
    ) -> None:
        self._now = now
        self._monotonic = monotonic
        self._tolerance = tolerance
        self._settling = settling
        self._settled_at = -math.inf
        self._offset = self._measure()

    def _measure(self) -> float:
        return self._now() / 1000 - self._monotonic()

    def look(self) -> float:
        """Return by how many seconds the clock was set since the last call: positive for ahead, negative for back."""
        offset = self._measure()
        moved, self._offset = offset - self._offset, offset
        if abs(moved) <= self._tolerance:
            return 0.0
        self._settled_at = self._monotonic() + self._settling
        return moved

    @property
    def settled(self) -> bool:
        """Return whether the last jump was long ago. Until then, a long time between two moments may not be real."""
        return self._monotonic() >= self._settled_at
