"""One clock for all streams: heartbeats, ages and stuck sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette_webhooks.streams.connection import Connection

__all__ = ["Wheel"]

_TICK = 0.1
_LOOK = 1.0
_CROWD = 250


class Wheel:
    """Streams in slots of about 100 ms, so that each has its heartbeat in its turn and the loop never has all at once.

    Args:
        period: Seconds between two heartbeats of a stream.
    """

    def __init__(self, period: float) -> None:
        count = max(1, round(period / _TICK))
        self.tick = period / count
        self._slots: list[dict[Connection, None]] = [{} for _ in range(count)]
        self._stride = max(1, round(_LOOK / self.tick))
        self._origin = 0.0
        self._turn = 0

    def start(self, now: float) -> None:
        """Begin to turn."""
        self._origin = now - self._turn * self.tick

    def delay(self, now: float) -> float:
        """Seconds until the next turn."""
        return min(max(self._origin + (self._turn + 1) * self.tick - now, 0.001), self.tick)

    def add(self, connection: Connection) -> int:
        """Give a stream its slot: the one that is a period away, or the emptiest where that is crowded."""
        slot = self._turn % len(self._slots)
        if len(self._slots[slot]) >= _CROWD:
            slot = min(range(len(self._slots)), key=lambda number: len(self._slots[number]))
        self._slots[slot][connection] = None
        return slot

    def remove(self, connection: Connection, slot: int) -> None:
        """Take a stream out of its slot."""
        self._slots[slot].pop(connection, None)

    def advance(self, now: float) -> Iterator[tuple[Connection, bool]]:
        """The streams to look at now, and whether it is time for their heartbeat. Each is looked at every second."""
        count = len(self._slots)
        steps = int((now - self._origin) / self.tick) - self._turn
        if steps > count:
            # The process was stopped for a while. One round for all, and on from here.
            self._origin = now - (self._turn + count) * self.tick
            steps = count
        for _ in range(steps):
            self._turn += 1
            for offset in range(0, count, self._stride):
                for connection in tuple(self._slots[(self._turn + offset) % count]):
                    yield connection, offset == 0
