"""When an attempt is repeated, and how long an endpoint that fails is left alone."""

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
    """When to try again after a failure, in seconds since the epoch; None where the schedule is exhausted.

    Args:
        schedule: Seconds before each attempt, of which 20 % more or less are taken at random.
        step: The index in it of the attempt that failed.
        retry_after: Seconds that the receiver asked for. The later of both counts.
        random: A number from 0 to 1.
    """
    if step + 1 >= len(schedule):
        return None
    return now + max(_jittered(schedule[step + 1], random), retry_after or 0.0)


def pause(failures: int, random: Callable[[], float]) -> float:
    """Seconds without any attempt to an endpoint that has failed that often in a row.

    None after a first failure, as one event may be at fault; then a tenth of a second, doubled up to five seconds.
    No longer than the schedule's own first steps, so it is felt only where many deliveries wait for such an endpoint.
    """
    if failures < 2:
        return 0.0
    return _jittered(min(_FIRST_PAUSE * 2.0 ** min(failures - 2, 10), _MAX_PAUSE), random)


def _jittered(seconds: float, random: Callable[[], float]) -> float:
    return seconds * (1 - _JITTER + 2 * _JITTER * random())


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header (RFC 9110, section 10.2.3: seconds, or a date), 24 hours at most.

    None where there is no header, or where it is malformed.
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
