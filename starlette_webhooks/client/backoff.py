"""When to try again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

__all__ = ["Backoff", "retry_after"]

# A server may have meant milliseconds.
_LONGEST_WAIT = 300.0


class Backoff:
    """The delays between attempts: they double with each failure in a row, with jitter.

    Args:
        first: Seconds before the first attempt after a failure.
        longest: The maximum of seconds, unless the server asks for more.
        uniform: Returns a random number between two.
    """

    def __init__(
        self, *, first: float = 1.0, longest: float = 30.0, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._first = first
        self._longest = longest
        self._uniform = uniform
        self._failures = 0

    def reset(self) -> None:
        """Note that the server works."""
        self._failures = 0

    def next(self, at_least: float = 0.0) -> float:
        """Note a failure, and return the delay before the next attempt.

        Args:
            at_least: The seconds that the server has asked for.
        """
        delay = min(self._longest, self._first * 2.0 ** min(self._failures, 30)) * self._uniform(0.5, 1.0)
        self._failures += 1
        return max(delay, min(at_least, _LONGEST_WAIT))


def retry_after(value: str | None, *, now: Callable[[], float] = time.time) -> float:
    """Return the seconds that a header `Retry-After` asks for: a number, or a date (RFC 9110, section 10.2.3).

    0 for no header, and for one that is malformed.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - now(), 0.0)
    except (ValueError, TypeError):
        return 0.0
