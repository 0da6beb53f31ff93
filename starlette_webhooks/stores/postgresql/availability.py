"""Tracks whether the server can be reached, from the results of this process's calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.problems import Problem

__all__ = ["Availability"]

_REMEMBERED_FOR = 300.0
_UNAVAILABLE = "The database is unavailable: "


class Availability:
    """Knows when the server is unavailable, so that callers need not wait to find out. Thread-safe.

    Only one task then tries to reach it, and calls `is_there` on success. Otherwise one caller after another would
    wait.

    Args:
        where: The server, for messages.
        monotonic: Seconds of a monotonic clock.

    Attributes:
        reason: The current problem, or None.
    """

    def __init__(self, where: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._mutex = threading.Lock()
        self._problem = Problem(f"The database at {where} works again.", monotonic=monotonic)
        self._away_since: float | None = None
        self._silent_since: float | None = None
        # What fails, since when it last did, and why.
        self._failures: dict[str, tuple[float, str]] = {}

    @property
    def reason(self) -> str | None:
        """The known problem of the server, or None."""
        if self._failures:
            with self._mutex:
                self._tell()
        return self._problem.text

    @property
    def away(self) -> bool:
        """Whether the server cannot be reached."""
        return self._away_since is not None

    def check(self, *, patience: float = 0.0) -> None:
        """Raise if the server has been unavailable for this many seconds.

        Raises:
            BackendUnavailable: It has been.
        """
        since = self._away_since
        if since is not None and self._monotonic() - since >= patience:
            raise BackendUnavailable(self.reason)

    def is_silent(self, since: float) -> None:
        """Note that a call of that time got no answer. If the server cannot be reached next, it has been away since."""
        if self._silent_since is None:
            self._silent_since = since

    def is_away(self, reason: str, *, probed: bool = False) -> None:
        """Note that the server could not be reached. While this lasts, only the trying task can change the reason."""
        with self._mutex:
            if self._away_since is None:
                self._away_since = self._monotonic() if self._silent_since is None else self._silent_since
            elif not probed:
                return
            # The reason may come from a call that was refused because of this very problem.
            self._problem.begin(f"{_UNAVAILABLE}{reason.removeprefix(_UNAVAILABLE)}")

    def has_failed(self, what: str, reason: str) -> None:
        """Note that the server answered a call with an error.

        Args:
            what: Which call it was. The problem lasts until such a call succeeds, whatever else does. If there is none,
                it is forgotten after some minutes.
        """
        with self._mutex:
            self._failures.pop(what, None)
            self._failures[what] = (self._monotonic(), f"The database fails: {reason}")
            self._tell()

    def is_there(self, what: str = "") -> None:
        """Note that a call succeeded."""
        self._silent_since = None
        if self._problem.text is not None:
            with self._mutex:
                self._away_since = None
                self._failures.pop(what, None)
                self._tell()

    def _tell(self) -> None:
        oldest = self._monotonic() - _REMEMBERED_FOR
        self._failures = {what: one for what, one in self._failures.items() if one[0] > oldest}
        if self._away_since is not None:
            return
        if self._failures:
            *_, (_, text) = self._failures.values()
            self._problem.begin(text)
        else:
            self._problem.end()
