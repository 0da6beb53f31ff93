"""The time source of a relay: the time of day, a monotonic clock, and a way to sleep."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio
from anyio import CancelScope

from starlette_webhooks.types import Clock

__all__ = ["TimeSource"]


class TimeSource:
    """Clocks and a matching way to sleep, so that tests can let a day pass in a moment.

    Args:
        now: Seconds since the epoch, for stored times.
        sleep: Waits for a number of seconds.
        monotonic: Seconds of a monotonic clock, for pauses: the time of day may be set back by an hour.
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
        """Wait for the event for at most this many seconds. None means without a limit."""
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
