"""From rows to objects and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette_webhooks.events import Event
from starlette_webhooks.payloads import implied_event_id

__all__ = ["from_ms", "to_event", "to_ms"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """Whole milliseconds since the epoch, never rounded up: what happened in this millisecond is not before it."""
    return (moment - _EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """The moment in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def to_event(row: Sequence[Any]) -> Event:
    """An event of the columns `seq, id, tenant, type, timestamp, event_id, channels, payload`."""
    _, identifier, tenant, event_type, timestamp, event_id, channels, payload = row
    return Event(
        identifier,
        tenant,
        event_type,
        payload,
        from_ms(timestamp),
        event_id or implied_event_id(identifier),
        tuple(json.loads(channels)) if channels else (),
    )
