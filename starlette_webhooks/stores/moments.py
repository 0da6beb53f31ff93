"""Times as stores keep them: whole milliseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["from_ms", "from_us", "to_ms"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """Return whole milliseconds since the epoch, rounded down, so that no event is before its own millisecond."""
    return (moment - _EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """Return the time in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def from_us(microseconds: int) -> datetime:
    """Return the time in UTC of whole microseconds since the epoch, as the outbox of hosts keeps them."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)
