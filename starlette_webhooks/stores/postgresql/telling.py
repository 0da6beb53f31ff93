"""Events about changes, in the form in which `webhooks.tell_7` stores them with the change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from starlette_webhooks.events import Event
from starlette_webhooks.payloads import implied_event_id
from starlette_webhooks.stores.moments import to_ms

__all__ = ["encode_notices", "notice"]


def notice(event: Event) -> dict[str, Any]:
    """Return an event as a JSON object for the server."""
    return {
        "id": event.id,
        "tenant": event.tenant,
        "type": event.type,
        "timestamp": str(to_ms(event.timestamp)),
        "key": "" if event.event_id == implied_event_id(event.id) else event.event_id,
        "payload": event.payload.decode(),
    }


def encode_notices(events: Sequence[Event]) -> str:
    """Return events as a JSON array for the server."""
    return json.dumps([notice(event) for event in events], ensure_ascii=False, separators=(",", ":"))
