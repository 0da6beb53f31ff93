"""The clock of all tests: the time of day, a monotonic clock and a way to sleep, which tests control."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from starlette_webhooks.relay.clock import TimeSource

__all__ = ["Clock", "VirtualTime"]


class Clock:
    """Call it for the time of day in seconds since the epoch.

    Args:
        start: The time of day at the beginning; now by default.
        speed: Seconds that pass in a second. 0 for a clock that only the test moves.
    """

    def __init__(self, start: float | None = None, *, speed: float = 1.0) -> None:
        self._started = time.monotonic()
        self._start = time.time() if start is None else start
        self._speed = speed
        self._passed = 0.0
        self._set = 0.0

    def __call__(self) -> float:
        if self._speed == 1:
            # Not by the monotonic clock, as whole milliseconds are compared with those of other processes.
            return time.time() + self._passed + self._set
        return self._start + self.monotonic() + self._set

    def monotonic(self) -> float:
        """Seconds of a clock that only moves forward."""
        return self._passed + self._speed * (time.monotonic() - self._started)

    def advance(self, seconds: float = 0.0, *, ms: float = 0.0) -> None:
        """Let time pass."""
        self._passed += seconds + ms / 1000

    def set_by(self, seconds: float = 0.0, *, ms: float = 0.0) -> None:
        """Set the time of day ahead or back, although no time passes."""
        self._set += seconds + ms / 1000


class VirtualTime(Clock):
    """Virtual time: it jumps to the end of the next sleep after a short moment of real time.

    Attributes:
        asked: The durations of all sleeps.
    """

    def __init__(self, start: float | None = None) -> None:
        super().__init__(start, speed=0)
        self.asked: list[float] = []
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._asleep: set[int] = set()
        self._count = itertools.count()

    def source(self) -> TimeSource:
        """Return this time in the form that a relay uses."""
        return TimeSource(self, self.sleep, self.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Sleep until this much virtual time has passed."""
        self.asked.append(seconds)
        event, number = anyio.Event(), next(self._count)
        heapq.heappush(self._sleepers, (self.monotonic() + seconds, number, event))
        self._asleep.add(number)
        try:
            await event.wait()
        finally:
            self._asleep.discard(number)

    @asynccontextmanager
    async def passing(self) -> AsyncGenerator[None]:
        """Let time pass until the block ends."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.run, math.inf)
            yield
            tasks.cancel_scope.cancel()

    async def run(self, seconds: float, *, moment: float = 0.0005) -> None:
        """Let this much time pass."""
        end = self.monotonic() + seconds
        while self.monotonic() < end:
            await anyio.sleep(moment)
            # Skip sleeps that were cancelled.
            while self._sleepers and self._sleepers[0][1] not in self._asleep:
                heapq.heappop(self._sleepers)
            if self._sleepers and self._sleepers[0][0] < end:
                due, _, event = heapq.heappop(self._sleepers)
                self.advance(max(due - self.monotonic(), 0))
                event.set()
            elif end < math.inf:
                self.advance(end - self.monotonic())
