"""`Clock`: time that a test sets forward, so that retries which are hours away happen now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from starlette_webhooks.applications import Webhooks
    from starlette_webhooks.backends.base import Backend

__all__ = ["Clock"]

_PATIENCE = 10.0
_POLL = 0.005


class Clock:
    """The time of day, and what it was set forward by. Call it for the seconds since the epoch.

    clock = Clock()
    clock.control(webhooks)
    with TestClient(app) as client:
        ...
        clock.advance(5)
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._backends: list[Backend] = []

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._ahead

    def monotonic(self) -> float:
        """Seconds of a clock that only moves forward, set forward by the same."""
        return time.monotonic() + self._ahead

    def control(self, webhooks: Webhooks) -> None:
        """Make deliveries, tickets and secrets go by this clock. Call it before the app starts.

        Raises:
            TypeError: The backend keeps its own time.
            RuntimeError: It is already running.
        """
        backend = webhooks.backend
        backend.set_clock(self, self.monotonic)
        webhooks.set_clock(self)
        self._backends.append(backend)

    def advance(self, seconds: float) -> None:
        """Set the time forward, and make what is due then happen. Waits for attempts that are under way before.

        For tests that are not async; those use `await clock.sleep(seconds)`.

        Raises:
            RuntimeError: Called on the event loop that the backend runs on.
            TimeoutError: An attempt did not end within 10 seconds.
        """
        if any(backend.on_loop for backend in self._backends):
            raise RuntimeError("`advance` would block the event loop. Use `await clock.sleep(seconds)` in async code.")
        end = time.monotonic() + _PATIENCE
        while self._busy(end):
            time.sleep(_POLL)
        self._set_forward(seconds)

    async def sleep(self, seconds: float) -> None:
        """As `advance`, in async code."""
        end = time.monotonic() + _PATIENCE
        while self._busy(end):
            await anyio.sleep(_POLL)
        self._set_forward(seconds)

    def _busy(self, end: float) -> bool:
        # An attempt that ends after the jump would count its retry from then.
        busy = any(backend.busy for backend in self._backends)
        if busy and time.monotonic() > end:
            raise TimeoutError(f"A delivery is under way for {_PATIENCE:.0f} seconds. Let the receiver answer.")
        return busy

    def _set_forward(self, seconds: float) -> None:
        self._ahead += seconds
        for backend in self._backends:
            backend.wake()
