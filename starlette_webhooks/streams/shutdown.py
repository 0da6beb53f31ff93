"""Noticing that a signal stops the server: handlers of SIGTERM and SIGINT, chained and never replaced.

Servers wait for open responses before they end the lifespan, so an endless response would never know otherwise.
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
    """Reports SIGTERM and SIGINT, then calls the handler that was there before.

    Args:
        notify: Called within the signal handler, so it may only schedule.
    """

    def __init__(self, notify: Callable[[], object]) -> None:
        self._notify = notify
        self._installed: dict[int, tuple[Any, Any]] = {}

    def install(self) -> None:
        """Chain the handlers. Does nothing off the main thread, nor where no Python handler is set.

        Without a handler, a signal ends the process at once or is ignored: there is nothing to do before.
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
        """Put the former handlers back, where nobody else has set one since."""
        for number, (handler, previous) in self._installed.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, previous)
        self._installed.clear()

    def _chained(self, previous: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], Any]:
        # A closure for each, since a handler of somebody else that chains to ours must find what it knew then.
        def handler(number: int, frame: FrameType | None) -> Any:
            self._notify()
            return previous(number, frame)

        return handler
