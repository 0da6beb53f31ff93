"""The delay after failures in a row."""

from __future__ import annotations

import random

__all__ = ["backoff"]

# The relay waits at most an hour, even if the target asks for more: it may have meant milliseconds.
_LONGEST_RETRY_AFTER = 3600.0


def backoff(failures: int, *, first: float = 0.5, longest: float = 60.0, retry_after: float | None = None) -> float:
    """Return the seconds to wait after failures in a row: doubling, with jitter, and at least `Retry-After`."""
    delay = min(longest, first * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)
    return delay if retry_after is None else max(delay, min(retry_after, _LONGEST_RETRY_AFTER))
