"""Parses times from outside, in the format of RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

__all__ = ["parse_time"]

_RFC_3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII
)
# Ids cannot represent times outside of these bounds. See `identifiers`.
_EARLIEST = datetime(2014, 5, 14, tzinfo=UTC)
_LATEST = datetime(2150, 1, 1, tzinfo=UTC)
_A_LEAP_YEAR = 4


def parse_time(text: str) -> datetime:
    """Parse a time such as `2026-11-23T21:50:00Z`, in every form of RFC 3339, section 5.6. Returns it in UTC.

    Times before 2014-05-14 or after 2150 count as these bounds: no event is older or newer. A leap second counts as the
    following second, as in POSIX clocks.

    Raises:
        ValueError: The text is not a time, or has no offset from UTC.
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError("must be a time with its offset from UTC, such as `2026-11-23T21:50:00Z`")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    microsecond = int((match[7] or "0")[:6].ljust(6, "0"))
    leap = second == 60
    try:
        # RFC 3339 has a year 0, and Python has none.
        local = datetime(
            year or _A_LEAP_YEAR, month, day, hour, minute, 59 if leap else second, 0 if leap else microsecond, UTC
        )
    except ValueError:
        raise ValueError("names a day or a time of day that does not exist") from None
    try:
        moment = local - _offset(match[8], match[9], match[10])
        if leap and (moment.hour, moment.minute) != (23, 59):
            raise ValueError("has a leap second where there is none: they end a day in UTC")
        moment += timedelta(seconds=leap)
    except OverflowError:
        return _EARLIEST if year < _EARLIEST.year else _LATEST
    return min(max(moment, _EARLIEST), _LATEST)


def _offset(sign: str | None, hours: str | None, minutes: str | None) -> timedelta:
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return -offset if sign == "-" else offset
