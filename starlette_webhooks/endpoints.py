"""Endpoints, attempts, and what is asked and answered about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from starlette_webhooks.events import Event, format_time

__all__ = [
    "UNSET",
    "Attempt",
    "AttemptQuery",
    "Endpoint",
    "EndpointChanges",
    "EndpointStats",
    "EventQuery",
    "Page",
    "PortalAccess",
    "SyncResult",
    "Unset",
]

T = TypeVar("T")

AttemptStatus = Literal["success", "fail"]


class Unset:
    """The type of `UNSET`: a field that a change leaves as it is."""

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET = Unset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a customer wants events delivered.

    Attributes:
        id: `ep_` and a KSUID.
        event_types: The names it wants; empty means all.
        channels: The labels it wants; empty means all. An event with none of them is not delivered.
        rate_limit: Deliveries per second at most, or None.
        headers: Sent along with each delivery; values may be secret.
        disabled_reason: Why it was disabled: `gone` (410), `failing` (for days) or `manual`; None while enabled.
    """

    id: str
    tenant: str
    url: str
    description: str = ""
    event_types: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    disabled: bool = False
    disabled_reason: str | None = None
    rate_limit: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime
    updated_at: datetime

    def document(self) -> dict[str, Any]:
        """The endpoint as the routes show it. The values of its headers stay inside; their names are shown."""
        return {
            "id": self.id,
            "url": self.url,
            "description": self.description,
            "eventTypes": list(self.event_types),
            "channels": list(self.channels),
            "disabled": self.disabled,
            "disabledReason": self.disabled_reason,
            "rateLimit": self.rate_limit,
            "metadata": dict(self.metadata),
            "headers": sorted(self.headers),
            "createdAt": format_time(self.created_at),
            "updatedAt": format_time(self.updated_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointChanges:
    """What to create an endpoint with, or what to change of one. `UNSET` leaves a field (or its default) alone."""

    url: str | Unset = UNSET
    description: str | Unset = UNSET
    event_types: tuple[str, ...] | Unset = UNSET
    channels: tuple[str, ...] | Unset = UNSET
    disabled: bool | Unset = UNSET
    rate_limit: int | None | Unset = UNSET
    metadata: Mapping[str, str] | Unset = UNSET
    headers: Mapping[str, str] | Unset = UNSET
    secret: str | Unset = UNSET
    """`whsec_...` to create the endpoint with; only for creation."""

    def given(self) -> dict[str, Any]:
        """The fields that are set, by name."""
        values = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in values if value is not UNSET}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP try of one delivery.

    Attributes:
        id: `atmpt_` and a KSUID.
        event_id: The event's public id (`msg_...`).
        number: 1 for the first try of the event at this endpoint.
        status_code: The receiver's HTTP status, 0 where no response came.
        response: The first 16 KiB of the response body, as text.
        error: Why no response came, in words that are safe to show to the customer; empty otherwise.
        duration_ms: From start to end, in milliseconds.
        trigger: `scheduled`, `manual` (resent or recovered by hand) or `test`.
        next_attempt_at: When the delivery is tried again, as known when the attempt was recorded; None for never.
    """

    id: str
    event_id: str
    event_type: str
    endpoint_id: str
    url: str
    number: int
    timestamp: datetime
    status: AttemptStatus
    status_code: int
    duration_ms: int
    response: str = ""
    error: str = ""
    trigger: str = "scheduled"
    next_attempt_at: datetime | None = None

    def document(self) -> dict[str, Any]:
        """The attempt as the routes show it."""
        return {
            "id": self.id,
            "eventId": self.event_id,
            "eventType": self.event_type,
            "endpointId": self.endpoint_id,
            "url": self.url,
            "number": self.number,
            "timestamp": format_time(self.timestamp),
            "status": self.status,
            "statusCode": self.status_code,
            "durationMs": self.duration_ms,
            "response": self.response,
            "error": self.error,
            "trigger": self.trigger,
            "nextAttemptAt": None if self.next_attempt_at is None else format_time(self.next_attempt_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStats:
    """How deliveries to an endpoint went, counted by attempt.

    Attributes:
        success, fail: Attempts in the window.
        pending: Deliveries that wait for their first or next attempt now.
        buckets: An entry an hour, oldest first: (its start, successes, failures). Hours without any are left out.
    """

    success: int
    fail: int
    pending: int
    since: datetime
    until: datetime
    buckets: Sequence[tuple[datetime, int, int]] = ()

    def document(self) -> dict[str, Any]:
        """The figures as the route shows them."""
        return {
            "success": self.success,
            "fail": self.fail,
            "pending": self.pending,
            "since": format_time(self.since),
            "until": format_time(self.until),
            "buckets": [{"start": format_time(at), "success": ok, "fail": bad} for at, ok, bad in self.buckets],
        }


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


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptQuery:
    """Which attempts to list: newest first, exclusive of `cursor` (an attempt's id).

    Attributes:
        status_code_class: 2 for 200 to 299, and so on; 0 for no response.
    """

    event_id: str | None = None
    endpoint_id: str | None = None
    status: AttemptStatus | None = None
    status_code_class: int | None = None
    event_types: tuple[str, ...] = ()
    limit: int = 50
    cursor: str | None = None
    before: datetime | None = None
    after: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list. `next_cursor` is None where `done`."""

    items: Sequence[T]
    next_cursor: str | None
    done: bool


EventPage = Page[Event]
AttemptPage = Page[Attempt]


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What registering the catalog with the engine did, by name of event type."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PortalAccess:
    """Where a customer manages endpoints, and until when the URL works."""

    url: str
    expires_at: datetime
