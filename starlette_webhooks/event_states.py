"""The states of events' deliveries, and queries for them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from starlette_webhooks.endpoints import without_query
from starlette_webhooks.events import format_time

__all__ = ["DeliveryState", "EventDelivery", "EventSearch", "EventState", "EventSummary", "UnsentReason", "needles"]

DeliveryState: TypeAlias = Literal["delivered", "waiting", "failing", "exhausted", "unsent"]
"""`delivered` was answered with 2xx, `waiting` waits for its first attempt, `failing` waits for a retry, `exhausted`
has no attempts left, and `unsent` means that there is no delivery to this endpoint."""

EventState: TypeAlias = DeliveryState
"""An event is in each state that one of its deliveries is in, and is `unsent` without any."""

UnsentReason: TypeAlias = Literal["event_type", "channel", "added_later", "disabled", "test", "changed_since"]
"""Why there is no delivery: the endpoint does not receive the type or the channel, was added after the event, is
disabled, the event is a test of another endpoint, or the endpoint would receive it now but did not at that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSearch:
    """A query for events with the states of their deliveries, newest first.

    Attributes:
        endpoint_id: Only deliveries to this endpoint count.
        state: Only events in this state.
        text: Only events whose payload contains this text, exactly.
        cursor: Only events older than this id. A page may have fewer items than `limit`, even none, and still have a
            next one: one page does not look at an unlimited number of events.
        before, after: As in `EventQuery`.
    """

    tenant: str
    event_types: tuple[str, ...] = ()
    channel: str | None = None
    endpoint_id: str | None = None
    state: EventState | None = None
    text: str | None = None
    limit: int = 50
    cursor: str | None = None
    before: datetime | None = None
    after: datetime | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether few events may match, so that a page looks at more of them than it returns."""
        return self.state is not None or self.text is not None


def needles(text: str) -> tuple[bytes, bytes]:
    """Return the forms that a text may have in a payload: as it is, as in a piece of JSON, and as within a string."""
    return text.encode(), json.dumps(text, ensure_ascii=False)[1:-1].encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSummary:
    """An event without its payload, and how many of its deliveries are in each state.

    Attributes:
        preview: The start of the data, in JSON.
        delivered, waiting, failing, exhausted: Numbers of endpoints, counted to 100 at most.
    """

    id: str
    type: str
    timestamp: datetime
    test: bool
    preview: str
    delivered: int = 0
    waiting: int = 0
    failing: int = 0
    exhausted: int = 0

    def document(self) -> dict[str, Any]:
        """Return the event as JSON, with names in camelCase."""
        return {
            "id": self.id,
            "eventType": self.type,
            "timestamp": format_time(self.timestamp),
            "test": self.test,
            "preview": self.preview,
            "delivered": self.delivered,
            "waiting": self.waiting,
            "failing": self.failing,
            "exhausted": self.exhausted,
        }

    def is_in(self, state: EventState | None) -> bool:
        """Whether the event is in this state. None means any."""
        numbers = {
            "delivered": self.delivered,
            "waiting": self.waiting,
            "failing": self.failing,
            "exhausted": self.exhausted,
        }
        if state is None:
            return True
        return not any(numbers.values()) if state == "unsent" else numbers[state] > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDelivery:
    """An event and an endpoint: the state of the delivery, or why there is none.

    Attributes:
        endpoint_disabled: Whether the endpoint is disabled, so that no attempts are made.
        reason: Why the state is `unsent`. None in other states.
        attempts: How many attempts were made.
        last_attempt_at: When the last attempt started. None if there was none.
        status_code: The HTTP status of the last attempt, or 0 without a response.
        error: Why the last attempt got no response. Empty otherwise.
        next_attempt_at: When the next attempt is due. None while an attempt is running, or if there will be none.
        running: Whether an attempt is running.
    """

    endpoint_id: str
    endpoint_disabled: bool
    url: str = field(repr=False)
    state: DeliveryState
    reason: UnsentReason | None = None
    attempts: int = 0
    last_attempt_at: datetime | None = None
    status_code: int = 0
    error: str = ""
    next_attempt_at: datetime | None = None
    running: bool = False

    def document(self, *, whole_url: bool = True) -> dict[str, Any]:
        """Return the delivery as JSON, with names in camelCase. See `Attempt.document`."""
        return {
            "endpointId": self.endpoint_id,
            "endpointDisabled": self.endpoint_disabled,
            "url": self.url if whole_url else without_query(self.url),
            "state": self.state,
            "reason": self.reason,
            "attempts": self.attempts,
            "lastAttemptAt": None if self.last_attempt_at is None else format_time(self.last_attempt_at),
            "statusCode": self.status_code,
            "error": self.error,
            "nextAttemptAt": None if self.next_attempt_at is None else format_time(self.next_attempt_at),
            "running": self.running,
        }
