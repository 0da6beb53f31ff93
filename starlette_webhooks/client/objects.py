"""The objects that the client returns. Fields that a newer server adds are ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

__all__ = ["Attempt", "Endpoint", "Event", "EventType", "Page"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Event:
    """An event.

    Attributes:
        id: The id, which is also the `webhook-id` of its deliveries.
        event_type: The name of its event type.
        payload: The object that endpoints receive: `{"type", "timestamp", "data"}`.
        timestamp: When it happened, in UTC.
        test: Whether it is a test event.
    """

    id: str
    event_type: str
    payload: dict[str, Any]
    timestamp: datetime
    test: bool = False

    @property
    def data(self) -> Any:
        """The `data` of the payload."""
        return self.payload["data"]

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Event:
        """Return the event that the API describes."""
        return cls(
            value["id"],
            value["eventType"],
            value["payload"],
            datetime.fromisoformat(value["timestamp"]),
            value.get("test", False),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A URL that events are delivered to.

    Attributes:
        id: `ep_` and a KSUID.
        url: Where events are delivered. Without its query if the key has only the read scope.
        description: A note for people.
        event_types: The event types that it receives. Empty means all.
        channels: The channels that it receives. Empty means all.
        disabled: Whether it gets no deliveries.
        disabled_reason: Why it was disabled: `gone` (410), `failing` (for days) or `manual`. None while enabled.
        rate_limit: Deliveries per second at most, or None.
        metadata: Strings of your own.
        headers: The names of the headers that are sent with each delivery.
        created_at: When it was created, in UTC.
        updated_at: When it was last changed, in UTC.
    """

    id: str
    # Some receivers have a secret in their URL.
    url: str = field(repr=False)
    description: str
    event_types: tuple[str, ...]
    channels: tuple[str, ...]
    disabled: bool
    disabled_reason: str | None
    rate_limit: int | None
    metadata: Mapping[str, str]
    headers: tuple[str, ...]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Endpoint:
        """Return the endpoint that the API describes."""
        return cls(
            id=value["id"],
            url=value["url"],
            description=value["description"],
            event_types=tuple(value["eventTypes"]),
            channels=tuple(value["channels"]),
            disabled=value["disabled"],
            disabled_reason=value["disabledReason"],
            rate_limit=value["rateLimit"],
            metadata=value["metadata"],
            headers=tuple(value["headers"]),
            created_at=datetime.fromisoformat(value["createdAt"]),
            updated_at=datetime.fromisoformat(value["updatedAt"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP request that tried to deliver an event to an endpoint.

    Attributes:
        id: `atmpt_` and a KSUID.
        event_id: The event's id (`msg_...`).
        event_type: The name of the event's type.
        endpoint_id: The endpoint's id (`ep_...`).
        url: The URL that was called. Without its query if the key has only the read scope.
        number: 1 for the first attempt of the event at this endpoint.
        timestamp: When it began, in UTC.
        status: `success` if the receiver answered 2xx, otherwise `fail`.
        status_code: The receiver's HTTP status, or 0 without a response.
        duration_ms: From start to end, in milliseconds.
        response: The first 16 KiB of the response body, as text.
        error: Why there was no response. Empty otherwise.
        trigger: `scheduled`, `manual` (resent or recovered) or `test`.
        next_attempt_at: When the next attempt is due. None means never.
    """

    id: str
    event_id: str
    event_type: str
    endpoint_id: str
    url: str = field(repr=False)
    number: int
    timestamp: datetime
    status: str
    status_code: int
    duration_ms: int
    response: str
    error: str
    trigger: str
    next_attempt_at: datetime | None

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Attempt:
        """Return the attempt that the API describes."""
        following = value["nextAttemptAt"]
        return cls(
            id=value["id"],
            event_id=value["eventId"],
            event_type=value["eventType"],
            endpoint_id=value["endpointId"],
            url=value["url"],
            number=value["number"],
            timestamp=datetime.fromisoformat(value["timestamp"]),
            status=value["status"],
            status_code=value["statusCode"],
            duration_ms=value["durationMs"],
            response=value["response"],
            error=value["error"],
            trigger=value["trigger"],
            next_attempt_at=None if following is None else datetime.fromisoformat(following),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """A kind of event.

    Attributes:
        name: The name, such as `invoice.paid`.
        label: The name for people.
        category: Its heading in the portal.
        description: When it is sent.
        schema: The JSON Schema of `data`, if it has one.
        example: An example of `data`, if there is one.
    """

    name: str
    label: str
    category: str
    description: str
    schema: dict[str, Any] | None
    example: dict[str, Any] | None

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> EventType:
        """Return the event type that the API describes."""
        return cls(**{name: value[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list. `next_cursor` is None on the last page."""

    items: Sequence[T]
    next_cursor: str | None
