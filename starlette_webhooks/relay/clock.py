"""Time as a relay sees it: the time of day, a clock that only moves forward, and a way to sleep."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio
from anyio import CancelScope

from starlette_webhooks.types import Clock

__all__ = ["TimeSource"]


class TimeSource:
    """Clocks and a way to sleep that belong together, so that tests can let a day pass in a moment.

    Args:
        now: Seconds since the epoch, for what is stored.
        sleep: Waits for so many seconds.
        monotonic: Seconds of a clock that only moves forward, for pauses: the time of day may be set back by an hour.
    """

    def __init__(
        self,
        now: Clock = time.time,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self.now = now
        self.sleep = sleep
        self.monotonic = monotonic

    async def wait(self, event: anyio.Event, seconds: float | None) -> None:
        """Wait for the event, at most so many seconds; None waits without a limit."""
        if seconds is None:
            await event.wait()
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_later, seconds, tasks.cancel_scope)
            await event.wait()
            tasks.cancel_scope.cancel()

    async def _cancel_later(self, seconds: float, scope: CancelScope) -> None:
        await self.sleep(max(seconds, 0))
        scope.cancel()
