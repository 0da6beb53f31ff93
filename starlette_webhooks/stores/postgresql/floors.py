"""Remembers where each endpoint's queue starts, so that claims do not read rows of earlier deliveries.

Deleted rows stay in the index until no transaction can see them. While a transaction is open, the rows of all
deliveries made since then are before those that are due, and each claim would take longer than the previous one.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Floors"]

# Slow commits and small clock differences can add deliveries that were due before others.
_MARGIN = 2_000
_MOST = 100_000


class Floors:
    """The due times, in milliseconds, at which claims of this process start to look.

    Scans find what is due below, such as an expired lease: they look at everything and lower the floor.
    """

    def __init__(self) -> None:
        self._floors: dict[int, int] = {}

    def of(self, endpoints: Sequence[int]) -> list[int]:
        """Return the floor of each endpoint."""
        return [self._floors.get(endpoint, 0) for endpoint in endpoints]

    def claimed(self, endpoint: int, first: int, now: int) -> None:
        """Note that a claim found nothing from the floor on that is due earlier than `first`."""
        floor = min(first, now) - _MARGIN
        if floor > self._floors.get(endpoint, 0):
            if len(self._floors) >= _MOST:  # pragma: no cover  Needs as many endpoints.
                self._floors.clear()
            self._floors[endpoint] = floor

    def forget(self) -> None:
        """Forget all floors, because deliveries were moved."""
        self._floors.clear()

    def scanned(self, endpoint: int, first: int) -> None:
        """Note that a scan found a delivery that is due at `first`, or a lease that ends then."""
        if first < self._floors.get(endpoint, 0):
            self._floors[endpoint] = first
