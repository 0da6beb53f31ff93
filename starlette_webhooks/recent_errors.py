"""The last warnings and errors that this process logged, for `health()`."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime

from starlette_webhooks.events import format_time
from starlette_webhooks.health import LastError

__all__ = ["RecentErrors"]

_MOST = 10
_LENGTH = 500


class RecentErrors(logging.Filter):
    """Remembers records of the logger `starlette_webhooks`, and lets all of them pass.

    A filter, because a handler would keep Python from printing errors of hosts that have not configured logging.
    """

    def __init__(self) -> None:
        super().__init__()
        self._found: deque[LastError] = deque(maxlen=_MOST)

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter.filter`."""
        if record.levelno >= logging.WARNING:
            at = format_time(datetime.fromtimestamp(record.created, UTC))
            self._found.append({"at": at, "message": record.getMessage()[:_LENGTH]})
        return True

    @contextmanager
    def watching(self) -> Generator[None]:
        """Remember what is logged until the block ends."""
        logger = logging.getLogger("starlette_webhooks")
        logger.addFilter(self)
        try:
            yield
        finally:
            logger.removeFilter(self)

    def latest(self) -> list[LastError]:
        """Return what was logged, the newest last."""
        return list(self._found)
