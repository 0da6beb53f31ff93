"""Events, and how to ask for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette_webhooks.pagination import Page

if TYPE_CHECKING:
    pass

__all__ = ["Event", "EventPage", "EventQuery", "format_time"]


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-11-23T21:50:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, once and for all.

    Attributes:
        id: What customers see: `msg_` and a KSUID, the `webhook-id` of its deliveries. Empty on the Svix backend until
            Svix has accepted the event.
        tenant: The tenant that the event belongs to.
        type: The name of its event type.
        payload: The bytes of the JSON object `{"type", "timestamp", "data"}`, encoded once; these bytes are signed,
            delivered, listed and streamed.
        timestamp: When it happened, in UTC, to the millisecond.
        event_id: The host's key for idempotency, unique within the tenant.
        channels: Labels that endpoints may filter by.
        test: Whether it was made up to try an endpoint. Its payload then has `"test": true`.
    """

    id: str
    tenant: str
    type: str
    payload: bytes
    timestamp: datetime
    event_id: str
    channels: tuple[str, ...] = ()
    test: bool = False

    @property
    def data(self) -> Any:
        """The `data` of the payload, decoded anew at each access."""
        return json.loads(self.payload)["data"]

    def encode(self) -> bytes:
        """The event as `GET /events` lists it and the stream sends it: `{"id","eventType","payload","timestamp"}`."""
        return b'{"id":"%b","eventType":"%b","payload":%b,"timestamp":"%b"%b}' % (
            self.id.encode(),
            self.type.encode(),
            self.payload,
            format_time(self.timestamp).encode(),
            b',"test":true' if self.test else b"",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """Which events to list: newest first, exclusive of `cursor`.

    Attributes:
        event_types: Only these; empty means all.
        cursor: Events older than this id.
        before, after: Bounds on the timestamp, aware; `before` excludes its moment, `after` includes it. Both to 4 ms.
    """

    event_types: tuple[str, ...] = ()
    channel: str | None = None
    limit: int = 50
    cursor: str | None = None
    before: datetime | None = None
    after: datetime | None = None


EventPage = Page[Event]
