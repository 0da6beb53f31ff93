"""Time as the Svix engine sees it: a clock, sleeping, and how long to hold back after failures."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable

import anyio
from anyio import CancelScope

__all__ = ["Pace", "backoff"]

_LONGEST_RETRY_AFTER = 3600.0


class Pace:
    """A clock and a way to sleep that belong together.

    Args:
        clock: Seconds since the epoch.
        sleep: Waits for so many seconds of that clock.
    """

    def __init__(
        self, clock: Callable[[], float] = time.time, sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    ) -> None:
        self.clock = clock
        self.sleep = sleep

    async def wait(self, event: anyio.Event, seconds: float | None) -> None:
        """Wait for the event, and no longer than so many seconds; None waits for the event alone."""
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


def backoff(failures: int, *, first: float = 0.5, longest: float = 60.0, retry_after: float | None = None) -> float:
    """Seconds to wait after so many failures in a row: doubling, with jitter, and not less than `Retry-After`."""
    delay = min(longest, first * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)
    return delay if retry_after is None else max(delay, min(retry_after, _LONGEST_RETRY_AFTER))
