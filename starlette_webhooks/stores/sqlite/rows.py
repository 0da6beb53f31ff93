"""From rows to objects and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from starlette_webhooks.events import Event
from starlette_webhooks.payloads import implied_event_id
from starlette_webhooks.stores.moments import from_ms

__all__ = ["to_event"]


def to_event(row: Sequence[Any]) -> Event:
    """An event of the columns `seq, id, tenant, type, timestamp, event_id, channels, payload, test`."""
    _, identifier, tenant, event_type, timestamp, event_id, channels, payload, test = row
    return Event(
        identifier,
        tenant,
        event_type,
        payload,
        from_ms(timestamp),
        event_id or implied_event_id(identifier),
        tuple(json.loads(channels)) if channels else (),
        bool(test),
    )
