"""Notices that the system's clock was set, by hand, by a time server or after a pause of the machine."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["ClockWatch"]

_TOLERANCE = 1.0
_SETTLING = 600.0


class ClockWatch:
    """Compares the time of day with a clock that only moves forward.

    Args:
        now: Milliseconds since the epoch.
        monotonic: Seconds of a clock that only moves forward.
        tolerance: Seconds between two looks that are not counted: clocks drift, and are corrected little by little.
        settling: Seconds after a jump in which the clock is not to be trusted: it may be set again.
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
        """By how many seconds the clock was set since the last look: positive for ahead, negative for back."""
        offset = self._measure()
        moved, self._offset = offset - self._offset, offset
        if abs(moved) <= self._tolerance:
            return 0.0
        self._settled_at = self._monotonic() + self._settling
        return moved

    @property
    def settled(self) -> bool:
        """Whether the last jump was long ago. Before, long spans of time may be none: nothing should be concluded."""
        return self._monotonic() >= self._settled_at
