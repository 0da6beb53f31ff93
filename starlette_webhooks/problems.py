"""Problems that last, logged once when they begin and once when they are over."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable

__all__ = ["Problem"]

logger = logging.getLogger("starlette_webhooks")

_MOST = 5
_WITHIN = 60.0


class Problem:
    """What is wrong with something at the moment. A full disk fails every request, and is one line in the log.

    One that comes and goes, as on a disk that is nearly full, is logged five times a minute at most.

    Args:
        over: What to log when the problem is over.
        level: At which level to log its beginning.
        monotonic: Seconds of a clock that only moves forward.

    Attributes:
        text: What is wrong; None while nothing is.
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
        """Something is wrong. Logged if nothing was, or something else."""
        if text != self.text:
            self.text = text
            self._logged = False
        if not self._logged and (now := self._monotonic()) - self._logged_at[0] >= _WITHIN:
            self._logged = True
            self._logged_at.append(now)
            logger.log(self._level, "%s", text)

    def end(self) -> None:
        """Nothing is wrong. Logged if it was logged that something is."""
        if self.text is not None:
            self.text = None
            if self._logged:
                logger.info("%s", self._over)
