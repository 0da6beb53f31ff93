"""`Clock`, which a test advances so that retries that are due in hours happen now."""

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
    """The time of day, which a test can advance. Call it to get seconds since the epoch.

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
        """Return the seconds of a monotonic clock, advanced by the same time."""
        return time.monotonic() + self._ahead

    def control(self, webhooks: Webhooks) -> None:
        """Make deliveries, tickets and secrets use this clock. Call it before the app starts.

        Raises:
            TypeError: The backend has its own clock.
            RuntimeError: The backend is already running.
        """
        backend = webhooks.backend
        backend.set_clock(self, self.monotonic)
        webhooks.set_clock(self)
        self._backends.append(backend)

    def advance(self, seconds: float) -> None:
        """Advance the time, so that what is due happens. First waits for running attempts.

        For sync tests. In async tests, use `await clock.sleep(seconds)`.

        Raises:
            RuntimeError: Called on the backend's event loop.
            TimeoutError: An attempt did not end within 10 seconds.
        """
        if any(backend.on_loop for backend in self._backends):
            raise RuntimeError("`advance` would block the event loop. Use `await clock.sleep(seconds)` in async code.")
        end = time.monotonic() + _PATIENCE
        while self._busy(end):
            time.sleep(_POLL)
        self._set_forward(seconds)

    async def sleep(self, seconds: float) -> None:
        """Like `advance`, for async code."""
        end = time.monotonic() + _PATIENCE
        while self._busy(end):
            await anyio.sleep(_POLL)
        self._set_forward(seconds)

    def _busy(self, end: float) -> bool:
        # The retry of an attempt that ends after the jump would be counted from then.
        busy = any(backend.busy for backend in self._backends)
        if busy and time.monotonic() > end:  # pragma: no cover  Takes ten seconds.
            raise TimeoutError(f"A delivery has been running for {_PATIENCE:.0f} seconds. The receiver must answer.")
        return busy

    def _set_forward(self, seconds: float) -> None:
        self._ahead += seconds
        for backend in self._backends:
            backend.wake()
