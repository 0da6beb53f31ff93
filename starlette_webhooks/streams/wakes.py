"""Wakes streams, some in each turn of the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from anyio.lowlevel import checkpoint

from starlette_webhooks.waiting import Waiter

__all__ = ["Wakes"]


class Wakes:
    """Streams that are to be woken.

    Args:
        own: The waiter of `run`.
        at_once: How many are woken per turn of the loop. With thousands, every other task would wait for all of their
            sends.
    """

    def __init__(self, own: Waiter, at_once: int) -> None:
        self._own = own
        self._at_once = at_once
        self._pending: deque[Waiter] = deque()

    def add(self, waiters: Iterable[Waiter]) -> None:
        """Wake these streams: the first ones immediately, the others in the following turns."""
        at_rest = not self._pending
        self._pending.extend(waiters)
        if at_rest and self._pending:
            self._wake_some()
            if self._pending:
                self._own.wake()

    def _wake_some(self) -> None:
        pending = self._pending
        for _ in range(min(self._at_once, len(pending))):
            pending.popleft().wake()

    async def run(self) -> None:
        """Wake the remaining streams, turn by turn, forever."""
        while True:
            if self._pending:
                await checkpoint()
                self._wake_some()
            else:
                await self._own.wait()
