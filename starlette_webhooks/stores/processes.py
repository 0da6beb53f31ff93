"""The processes that deliver, as they report themselves among the shared values.

A report is valid for 75 seconds by the store's clock. It costs each process one small commit in half a minute.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["PREFIX", "REPORT_EVERY", "count_dispatchers", "forgotten", "report"]

PREFIX = "process/"
"""The start of the names of reports. `operations.sql` reads all values whose names start with it."""
REPORT_EVERY = 30.0
"""Seconds between two reports of a process."""
_VALID_MS = 75_000
_FORGOTTEN_MS = 600_000


def report(now: int) -> bytes:
    """Return a report of now, in milliseconds since the epoch. Later reports compare as greater."""
    return b"%015d" % max(now, 0)


def forgotten(now: int) -> bytes:
    """Return the report before which others are removed, because their processes were killed."""
    return report(now - _FORGOTTEN_MS)


def count_dispatchers(reports: Iterable[bytes], now: int) -> int:
    """Return how many of the reports are valid."""
    return sum(abs(now - int(one)) <= _VALID_MS for one in reports)
