"""Events, and queries for them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette_webhooks.pagination import Page

if TYPE_CHECKING:
    pass

__all__ = ["Event", "EventPage", "EventQuery", "format_time"]


def format_time(moment: datetime) -> str:
    """Format a time as RFC 3339 in UTC with milliseconds: `2026-11-23T21:50:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. Events never change.

    Attributes:
        id: The id that customers see: `msg_` and a KSUID, the `webhook-id` of its deliveries. With Svix, it is empty
            until Svix has accepted the event.
        tenant: The tenant that the event belongs to.
        type: The name of its event type.
        payload: The bytes of the JSON object `{"type", "timestamp", "data"}`. It is encoded once, and these bytes are
            signed, delivered, listed and streamed.
        timestamp: When it happened, in UTC, to the millisecond.
        event_id: The host's key for idempotency, unique within the tenant.
        channels: Labels that endpoints and streams can filter by.
        test: Whether it is a test event. Its payload then has `"test": true`.
        trace: The trace context in which it was emitted, as `traceparent`, to be stored with it. Not read back.
    """

    id: str
    tenant: str
    type: str
    payload: bytes
    timestamp: datetime
    event_id: str
    channels: tuple[str, ...] = ()
    test: bool = False
    trace: str | None = field(default=None, repr=False, compare=False)

    @property
    def data(self) -> Any:
        """The `data` of the payload. Decoded at each access."""
        return json.loads(self.payload)["data"]

    def encode(self) -> bytes:
        """Encode the event for `GET /events` and streams: `{"id","eventType","payload","timestamp"}`."""
        return b"".join(self.encode_parts())

    def encode_parts(self) -> tuple[bytes, bytes, bytes]:
        """Return the parts of `encode`. The second one is the payload, which can be large, and is not copied."""
        head = b'{"id":"%b","eventType":"%b","payload":' % (self.id.encode(), self.type.encode())
        time, test = format_time(self.timestamp).encode(), b',"test":true' if self.test else b""
        return head, self.payload, b',"timestamp":"%b"%b}' % (time, test)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """A query for events, newest first.

    Attributes:
        event_types: Only these. Empty means all.
        cursor: Only events older than this id.
        before, after: Limits of the timestamp, with time zone. `before` is exclusive, `after` inclusive, both to 4 ms.
    """

    event_types: tuple[str, ...] = ()
    channel: str | None = None
    limit: int = 50
    cursor: str | None = None
    before: datetime | None = None
    after: datetime | None = None


EventPage = Page[Event]
