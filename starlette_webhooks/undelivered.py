"""Undelivered deliveries: what no endpoint has confirmed yet, and queries for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from starlette_webhooks.endpoints import without_query
from starlette_webhooks.events import format_time

__all__ = [
    "STATES",
    "FoundDelivery",
    "RecoverableCount",
    "Retried",
    "Undelivered",
    "UndeliveredCount",
    "UndeliveredQuery",
    "UndeliveredState",
]

UndeliveredState: TypeAlias = Literal["exhausted", "failing", "waiting"]
"""`exhausted` has no attempts left, `failing` waits for a retry, and `waiting` for its first attempt."""

STATES: tuple[UndeliveredState, ...] = ("exhausted", "failing", "waiting")
"""All states, in the order in which the deliveries of an endpoint are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """An event that an endpoint should receive and has never answered with 2xx.

    Attributes:
        timestamp: When the event happened.
        endpoint_disabled: Whether the endpoint is disabled, so that no attempts are made.
        attempts: How many attempts were made.
        last_attempt_at: When the last attempt started. None if there was none.
        status_code: The HTTP status of the last attempt, or 0 without a response.
        error: Why the last attempt got no response. Empty otherwise.
        next_attempt_at: When the next attempt is due. None while an attempt is running, or if there will be none.
        numbers: The numbers of the event and the endpoint in the store.
    """

    event_id: str
    event_type: str
    tenant: str
    timestamp: datetime
    endpoint_id: str
    endpoint_disabled: bool
    url: str = field(repr=False)
    state: UndeliveredState
    attempts: int
    last_attempt_at: datetime | None = None
    status_code: int = 0
    error: str = ""
    next_attempt_at: datetime | None = None
    numbers: tuple[int, int] = field(repr=False)

    def document(self, *, whole_url: bool = True) -> dict[str, Any]:
        """Return the delivery as JSON, with names in camelCase. See `Attempt.document`."""
        return {
            "eventId": self.event_id,
            "eventType": self.event_type,
            "timestamp": format_time(self.timestamp),
            "endpointId": self.endpoint_id,
            "endpointDisabled": self.endpoint_disabled,
            "url": self.url if whole_url else without_query(self.url),
            "state": self.state,
            "attempts": self.attempts,
            "lastAttemptAt": None if self.last_attempt_at is None else format_time(self.last_attempt_at),
            "statusCode": self.status_code,
            "error": self.error,
            "nextAttemptAt": None if self.next_attempt_at is None else format_time(self.next_attempt_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class UndeliveredQuery:
    """A query for undelivered deliveries: by endpoint, then by state as in `STATES`, then newest event first.

    Test events are left out, since nobody needs them later.

    Attributes:
        tenant: Only of this tenant. None means all tenants.
        event_types: Only of these event types. Empty means all.
        states: Only in these states. Empty means all.
        status_code_class: Only if the last attempt had such a status: 4 for 400 to 499, and so on. 0 for no response.
        before, after: Limits of the event's timestamp. `before` is exclusive, `after` inclusive.
        attempted_before: Only if the last attempt started before then, or if there was none.
        cursor: The `next_cursor` of the previous page. A page may have fewer items than `limit`, even none, and still
            have a next one: one page does not look at an unlimited number of deliveries.
    """

    tenant: str | None = None
    endpoint_id: str | None = None
    event_types: tuple[str, ...] = ()
    states: tuple[UndeliveredState, ...] = ()
    status_code_class: int | None = None
    before: datetime | None = None
    after: datetime | None = None
    attempted_before: datetime | None = None
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class FoundDelivery:
    """An event and an endpoint that exist, by their numbers in the store."""

    numbers: tuple[int, int]
    endpoint_disabled: bool


@dataclass(frozen=True, slots=True)
class UndeliveredCount:
    """How many deliveries match a query. If not `exact`, there are more."""

    count: int
    exact: bool


@dataclass(frozen=True, slots=True)
class RecoverableCount:
    """How many deliveries a recovery would make. If not `exact`, there are more.

    Attributes:
        failed: Of events whose delivery failed.
        missing: Of events that were never sent to the endpoint.
    """

    failed: int
    missing: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry did.

    Attributes:
        queued: How many deliveries are due now.
        disabled: How many were skipped because their endpoint is disabled.
    """

    queued: int = 0
    disabled: int = 0
