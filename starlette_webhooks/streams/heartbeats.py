"""Schedules the heartbeats and checks of all streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Heartbeats"]

S = TypeVar("S")

_TICK = 0.1
_LOOK = 1.0
_CROWD = 250


class Heartbeats(Generic[S]):
    """Distributes streams over slots of about 100 ms, so that their heartbeats do not all come together.

    Args:
        period: Seconds between two heartbeats of a stream.
    """

    def __init__(self, period: float) -> None:
        count = max(1, round(period / _TICK))
        self._tick = period / count
        self._slots: list[dict[S, None]] = [{} for _ in range(count)]
        self._stride = max(1, round(_LOOK / self._tick))
        self._origin = 0.0
        self._turn = 0

    def start(self, now: float) -> None:
        """Start the clock."""
        self._origin = now - self._turn * self._tick

    def delay(self, now: float) -> float:
        """Return the seconds until the next slot."""
        return min(max(self._origin + (self._turn + 1) * self._tick - now, 0.001), self._tick)

    def add(self, stream: S) -> int:
        """Assign a stream to a slot: the one that is a period away, or the emptiest one if that is crowded."""
        slot = self._turn % len(self._slots)
        if len(self._slots[slot]) >= _CROWD:
            slot = min(range(len(self._slots)), key=lambda number: len(self._slots[number]))
        self._slots[slot][stream] = None
        return slot

    def remove(self, stream: S, slot: int) -> None:
        """Remove a stream from its slot."""
        self._slots[slot].pop(stream, None)

    def advance(self, now: float) -> Iterator[tuple[S, bool]]:
        """Yield the streams to check now, and whether their heartbeat is due. Each is checked every second."""
        count = len(self._slots)
        steps = int((now - self._origin) / self._tick) - self._turn
        if steps > count:
            # The process was suspended. Check all streams once, and continue from here.
            self._origin = now - (self._turn + count) * self._tick
            steps = count
        for _ in range(steps):
            self._turn += 1
            for offset in range(0, count, self._stride):
                # A copy, because a check may end a stream.
                for stream in tuple(self._slots[(self._turn + offset) % count]):
                    yield stream, offset == 0
