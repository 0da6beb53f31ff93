"""Detects that a signal stops the server, by handlers of SIGTERM and SIGINT that call the previous ones.

Servers wait for open responses before they end the lifespan, so an endless response would not be notified otherwise.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["SignalChain"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class SignalChain:
    """Reports SIGTERM and SIGINT, then calls the previous handler.

    Args:
        notify: Called within the signal handler, so it must only schedule work.
    """

    def __init__(self, notify: Callable[[], object]) -> None:
        self._notify = notify
        self._installed: dict[int, tuple[Any, Any]] = {}

    def install(self) -> None:
        """Chain the handlers. Does nothing outside the main thread, or if no Python handler is set.

        Without a handler, a signal ends the process immediately or is ignored, so there is nothing to do before.
        """
        if self._installed or threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            previous = signal.getsignal(number)
            if callable(previous):
                handler = self._chained(previous)
                signal.signal(number, handler)
                self._installed[number] = (handler, previous)

    def restore(self) -> None:
        """Restore the previous handlers, unless other code has set one since."""
        for number, (handler, previous) in self._installed.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, previous)
        self._installed.clear()

    def _chained(self, previous: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], Any]:
        # One closure per handler, because other code may chain to ours, which must then call its own previous handler.
        def handler(number: int, frame: FrameType | None) -> Any:
            self._notify()
            return previous(number, frame)

        return handler
