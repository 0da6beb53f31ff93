"""Figures for `health()`, which is not async: they are refreshed in the background while somebody asks for them."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio

from starlette_webhooks.exceptions import BackendError

__all__ = ["Figures", "Statistics"]

T = TypeVar("T")

_EVERY = 1.5
# Longer than most monitoring systems pause between two calls.
_WANTED_FOR = 60.0
# Figures that take long to count are counted less often.
_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Figures(Generic[T]):
    """Figures of a database, and when they were read, by the monotonic clock."""

    overview: T
    read_at: float


class Statistics(Generic[T]):
    """Reads figures once at startup, and then while they were asked for within the last minute.

    An idle process that nobody monitors therefore makes no calls to its database for them.

    Args:
        overview: Reads the figures.
        call_soon: Calls a function on the event loop, from any thread.
        every: Seconds between two readings.
        wanted_for: Seconds for which they are read after they were asked for.
        monotonic: Seconds of a monotonic clock.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        overview: Callable[[], Awaitable[T]],
        *,
        call_soon: Callable[[Callable[[], None]], None],
        every: float = _EVERY,
        wanted_for: float = _WANTED_FOR,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self._overview = overview
        self._call_soon = call_soon
        self._every = every
        self._wanted_for = wanted_for
        self._monotonic = monotonic
        self._sleep = sleep
        self._asked_at = -math.inf
        self._figures: Figures[T] | None = None
        self._wanted: anyio.Event | None = None
        self._reading: anyio.Event | None = None

    def ask(self) -> tuple[T, float] | None:
        """Return the last figures and their age in seconds, and have newer ones read. From any thread."""
        self._asked_at = self._monotonic()
        if self._wanted is not None:
            self._call_soon(self._wake)
        figures = self._figures
        return None if figures is None else (figures.overview, max(0.0, self._monotonic() - figures.read_at))

    def _wake(self) -> None:
        if self._wanted is not None:
            self._wanted.set()

    async def run(self) -> None:
        """Read figures until cancelled."""
        try:
            while True:
                started = self._monotonic()
                await self.refresh()
                took = self._monotonic() - started
                if self._is_wanted():
                    await self._sleep(max(self._every - took, took / _SHARE))
                    continue
                wanted = self._wanted = anyio.Event()
                # Somebody may have asked just before.
                if not self._is_wanted():
                    await wanted.wait()
                self._wanted = None
        finally:
            self._wanted = None

    def _is_wanted(self) -> bool:
        return self._monotonic() - self._asked_at < self._wanted_for

    async def refresh(self) -> None:
        """Read figures now. If the database is unavailable, the last ones stay, and their age shows it."""
        if self._reading is not None:
            # Many callers that come together cause one call of the database.
            await self._reading.wait()
            return
        reading = self._reading = anyio.Event()
        try:
            overview = await self._overview()
        except BackendError:
            return
        finally:
            self._reading = None
            reading.set()
        self._figures = Figures(overview, self._monotonic())
