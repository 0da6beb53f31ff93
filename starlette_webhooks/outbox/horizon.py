"""Where the rows of an outbox on PostgreSQL begin, so that reading does not walk over rows that were moved.

Deleted rows stay in the table and its index until no transaction can see them. While a transaction is open anywhere on
the server, reading from the beginning would walk over all rows that were moved since then.

A row has the time of its insertion, and becomes visible when its transaction commits. A row that a read did not see is
therefore from a transaction that was open then, or that began later. Transactions are numbered when they begin to
write. To know when, the reader sometimes *marks* a number and its time: greater numbers are later.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Horizon", "Reading", "Start"]

_MARGIN = 1_000_000
_MARK_EVERY = 1.0
# For what cannot be derived: clocks that are set back, and deletions that a failover has lost.
_ALL_EVERY = 30.0
_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Start:
    """Where a read starts: at `floor`, or earlier if one of these transactions has ended. Times are microseconds.

    Attributes:
        numbers: Of transactions that may have inserted rows before the floor, and were open.
        times: When they began to write, at the earliest.
    """

    floor: int = 0
    numbers: Sequence[int] = ()
    times: Sequence[int] = ()

    @property
    def values(self) -> tuple[int, list[str], list[int]]:
        """The values for the server. Numbers are texts, because drivers do not know their type."""
        return self.floor, [str(number) for number in self.numbers], list(self.times)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a read found.

    Attributes:
        first: The time of the first row. None if there is none.
        moment: The time of the server, before the snapshot.
        mark: The number that a transaction got after `moment`. None if the read made no mark.
        snapshot: The snapshot as PostgreSQL writes it: `xmin:xmax:xip,xip`.
    """

    first: int | None
    moment: int
    mark: int | None
    snapshot: str


class Horizon:
    """Knows where the rows begin, from what one reader has read.

    Args:
        monotonic: The clock for how often to mark, and to read everything.
        margin: How much earlier to start, in microseconds. The time of a row is read shortly before its transaction
            gets a number, and clocks are corrected.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, *, margin: int = _MARGIN) -> None:
        self._monotonic = monotonic
        self._margin = margin
        self._forget()
        self._all_at = -math.inf
        self._marked_at = -math.inf

    def _forget(self) -> None:
        self._floor = 0
        self._moment = 0
        self._open: dict[int, int] = {}
        self._marks: list[tuple[int, int]] = []

    @property
    def start(self) -> Start:
        """Where there may be rows."""
        if self._monotonic() >= self._all_at:
            return Start()
        older = {number: began for number, began in self._open.items() if began < self._floor}
        return Start(self._floor - self._margin, list(older), [began - self._margin for began in older.values()])

    @property
    def marks(self) -> bool:
        """Whether the next read should make a mark. Each one uses up a number, of which PostgreSQL has 2 billion."""
        return self._monotonic() >= self._marked_at + _MARK_EVERY

    def read(self, start: Start, reading: Reading, seconds: float) -> None:
        """Note what the reader has read from `start` on. One read must end before the next begins.

        Args:
            seconds: How long it took.
        """
        if reading.moment < self._moment:
            self._forget()
        self._moment = reading.moment
        now = self._monotonic()
        if start.floor <= 0:
            self._all_at = now + max(_ALL_EVERY, seconds / _SHARE)
        if reading.mark is not None:
            self._marked_at = now
            self._marks.append((reading.mark, reading.moment))
        _, after, numbers = reading.snapshot.split(":")
        found = [int(number) for number in numbers.split(",") if number]
        self._open = {number: self._open.get(number) or self._began_after(number) for number in found}
        # Open transactions from this number on are not part of a snapshot.
        unknown = self._began_after(int(after))
        self._floor = unknown if reading.first is None else min(unknown, reading.first)
        del self._marks[: max(bisect_left(self._marks, (int(after), 0)) - 1, 0)]

    def _began_after(self, number: int) -> int:
        """Return a time at which the transaction with this number had not begun to write."""
        earlier = bisect_left(self._marks, (number, 0))
        return self._marks[earlier - 1][1] if earlier else 0
