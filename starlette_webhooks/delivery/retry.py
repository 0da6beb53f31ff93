"""Decides when an attempt is repeated, and how long a failing endpoint is paused."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["next_attempt", "parse_retry_after", "pause"]

_JITTER = 0.2
_MAX_RETRY_AFTER = 24 * 3600.0
_FIRST_PAUSE = 0.1
_MAX_PAUSE = 5.0
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


def next_attempt(
    schedule: Sequence[float], step: int, *, now: float, retry_after: float | None, random: Callable[[], float]
) -> float | None:
    """Return when to retry after a failure, in seconds since the epoch, or None at the end of the schedule.

    Args:
        schedule: Seconds before each attempt. Each is varied by up to 20 % at random.
        step: The index of the failed attempt in the schedule.
        retry_after: Seconds that the receiver asked for. The later of the two times counts.
        random: A number from 0 to 1.
    """
    if step + 1 >= len(schedule):
        return None
    return now + max(_jittered(schedule[step + 1], random), retry_after or 0.0)


def pause(failures: int, random: Callable[[], float]) -> float:
    """Return the seconds for which to pause an endpoint that has failed this often in a row.

    Zero after the first failure, which may be due to one event. Then a tenth of a second, doubled up to five seconds.
    This is not longer than the first steps of the schedule, so only endpoints with many waiting deliveries notice it.
    """
    if failures < 2:
        return 0.0
    return _jittered(min(_FIRST_PAUSE * 2.0 ** min(failures - 2, 10), _MAX_PAUSE), random)


def _jittered(seconds: float, random: Callable[[], float]) -> float:
    return seconds * (1 - _JITTER + 2 * _JITTER * random())


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Parse a `Retry-After` header (RFC 9110, section 10.2.3: seconds or a date) to seconds, 24 hours at most.

    Returns None if there is no header or if it is malformed.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), _MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER)
