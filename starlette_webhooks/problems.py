"""Lasting problems, which are logged once when they begin and once when they end."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable

from starlette_webhooks.log_fields import log_fields

__all__ = ["Problem"]

logger = logging.getLogger("starlette_webhooks")

_MOST = 5
_WITHIN = 60.0


class Problem:
    """A current problem. A full disk, for example, fails every request, but is logged once.

    A problem that comes and goes, as on a nearly full disk, is logged at most five times a minute.

    Args:
        over: The message when the problem has ended.
        level: The log level of its beginning.
        monotonic: Seconds of a monotonic clock.

    Attributes:
        text: The problem, or None.
    """

    def __init__(
        self, over: str, *, level: int = logging.ERROR, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._over = over
        self._level = level
        self._monotonic = monotonic
        self._logged_at = deque([-math.inf] * _MOST, maxlen=_MOST)
        self._logged = False
        self.text: str | None = None

    def begin(self, text: str) -> None:
        """Begin a problem. Logged unless the same problem has already begun."""
        if text != self.text:
            self.text = text
            self._logged = False
        if not self._logged and (now := self._monotonic()) - self._logged_at[0] >= _WITHIN:
            self._logged = True
            self._logged_at.append(now)
            logger.log(self._level, "%s", text, extra=log_fields("problem.began"))

    def end(self) -> None:
        """End the problem. Logged if its beginning was."""
        if self.text is not None:
            self.text = None
            if self._logged:
                logger.info("%s", self._over, extra=log_fields("problem.ended"))
