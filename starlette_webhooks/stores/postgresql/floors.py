"""From where on each endpoint's queue is looked at, so that a claim does not walk over what was delivered before.

Deleted rows stay in the index until nobody can see them any more. While somebody holds a transaction open, those of all
deliveries made since then stand in front of what is due, and each claim would take longer than the one before.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Floors"]

# Commits that took long, and clocks that differ a little, lead to deliveries that were due before others.
_MARGIN = 2_000
_MOST = 100_000


class Floors:
    """The due times, in milliseconds, before which claims of this process do not look.

    Whatever is due below, such as an expired lease, is found by the scan, which sees everything and lowers the floor.
    """

    def __init__(self) -> None:
        self._floors: dict[int, int] = {}

    def of(self, endpoints: Sequence[int]) -> list[int]:
        """The floor of each endpoint."""
        return [self._floors.get(endpoint, 0) for endpoint in endpoints]

    def claimed(self, endpoint: int, first: int, now: int) -> None:
        """A claim found that nothing from the floor on is due earlier than `first`."""
        floor = min(first, now) - _MARGIN
        if floor > self._floors.get(endpoint, 0):
            if len(self._floors) >= _MOST:
                self._floors.clear()
            self._floors[endpoint] = floor

    def forget(self) -> None:
        """Deliveries were moved, so that nothing is known about when they are due."""
        self._floors.clear()

    def scanned(self, endpoint: int, first: int) -> None:
        """A scan found that `first` is due, or that a lease ends then."""
        if first < self._floors.get(endpoint, 0):
            self._floors[endpoint] = first
