"""Problems that last, logged once when they begin and once when they are over."""

from __future__ import annotations

import logging

__all__ = ["Problem"]

logger = logging.getLogger("starlette_webhooks")


class Problem:
    """What is wrong with something at the moment. A full disk fails every request, and is one line in the log.

    Args:
        over: What to log when the problem is over.
        level: At which level to log its beginning.

    Attributes:
        text: What is wrong; None while nothing is.
    """

    def __init__(self, over: str, *, level: int = logging.ERROR) -> None:
        self._over = over
        self._level = level
        self.text: str | None = None

    def begin(self, text: str) -> None:
        """Something is wrong. Logged if nothing was, or something else."""
        if text != self.text:
            self.text = text
            logger.log(self._level, "%s", text)

    def end(self) -> None:
        """Nothing is wrong. Logged if something was."""
        if self.text is not None:
            self.text = None
            logger.info("%s", self._over)
