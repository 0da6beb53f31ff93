"""Wakes the task that moves what hosts have committed. The hooks of a host's sessions run in any thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import anyio

from starlette_webhooks.waiting import running_loop

__all__ = ["Wakes"]

# For so long after an event was written in a transaction, its commit is expected.
_EXPECTED_FOR = 1.0


class Wakes:
    """Wakes one task, which calls `start` before it waits."""

    def __init__(self) -> None:
        self._woken = anyio.Event()
        self._soon: Callable[..., object] = lambda *_: None
        self._expected_until = float("-inf")

    def start(self) -> None:
        """Accept calls of `wake`. Called on the event loop."""
        self._soon = running_loop().call_soon_threadsafe

    def wake(self, committed: bool) -> None:
        """Note that rows were committed or may be soon. From any thread. Never raises."""
        # The loop may have ended.
        with suppress(RuntimeError):
            self._soon(self._wake, committed)

    def _wake(self, committed: bool) -> None:
        if not committed:
            # The loop calls this outside of any task, where `anyio.current_time` does not work on asyncio.
            self._expected_until = time.monotonic() + _EXPECTED_FOR
        self._woken.set()

    @property
    def expected(self) -> bool:
        """Whether a commit is expected soon."""
        return time.monotonic() < self._expected_until

    async def wait(self, seconds: float) -> None:
        """Wait until `wake` was called, or for so many seconds."""
        with anyio.move_on_after(seconds):
            await self._woken.wait()
        self._woken = anyio.Event()
