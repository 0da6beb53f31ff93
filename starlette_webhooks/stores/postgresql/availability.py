"""Whether the server can be reached, as the calls of this process have found out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.problems import Problem

__all__ = ["Availability"]


class Availability:
    """Knows when the server is away, so that callers need not find out each by waiting. Thread-safe.

    Only one task then tries to reach it, and says so by `is_there`: among the callers, one after another would wait.

    Args:
        where: The server, for messages.
        monotonic: Seconds of a clock that only moves forward.

    Attributes:
        reason: What is wrong; None while nothing is.
    """

    def __init__(self, where: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._mutex = threading.Lock()
        self._problem = Problem(f"The database at {where} works again.", monotonic=monotonic)
        self._away_since: float | None = None

    @property
    def reason(self) -> str | None:
        """What is wrong with it, None where nothing is known to be."""
        return self._problem.text

    @property
    def away(self) -> bool:
        """Whether it cannot be reached."""
        return self._away_since is not None

    def check(self, *, patience: float = 0.0) -> None:
        """Raise if the server has been away for so many seconds.

        Raises:
            BackendUnavailable: It has.
        """
        since = self._away_since
        if since is not None and self._monotonic() - since >= patience:
            raise BackendUnavailable(self.reason)

    def is_away(self, reason: str, *, probed: bool = False) -> None:
        """It could not be reached. While that lasts, only the task that tries knows a better reason than the first."""
        with self._mutex:
            if self._away_since is None:
                self._away_since = self._monotonic()
            elif not probed:
                return
            self._problem.begin(f"The database is away: {reason}")

    def has_failed(self, reason: str) -> None:
        """It has answered that it cannot do what it should."""
        with self._mutex:
            self._problem.begin(f"The database fails: {reason}")

    def is_there(self) -> None:
        """It has done what it should."""
        if self.reason is not None:
            with self._mutex:
                self._away_since = None
                self._problem.end()
