"""What operators see over all tenants: figures of the store, and the state of endpoints and events."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from starlette_webhooks.endpoints import Endpoint
from starlette_webhooks.events import format_time
from starlette_webhooks.identifiers import is_endpoint_id

__all__ = [
    "COUNTED",
    "EXHAUSTED_COUNTED",
    "EndpointOrder",
    "EndpointQuery",
    "EndpointState",
    "EndpointStatus",
    "EventHeader",
    "PACED_MS",
    "Overview",
    "RecentEvents",
    "TenantQuery",
    "TenantStatus",
    "is_urgency_cursor",
]

COUNTED = 10_000
"""The maximum that figures count to, so that counting takes milliseconds however much there is."""

EXHAUSTED_COUNTED = 1000
"""The same for exhausted deliveries, each of which is looked up."""

PACED_MS = 5000
"""How long after its last slot an endpoint with a pace lets deliveries wait on purpose, in milliseconds."""

EndpointState: TypeAlias = Literal["ok", "failing", "disabled"]
"""`failing` means enabled, and its last attempt failed."""

EndpointOrder: TypeAlias = Literal["newest", "urgency"]
"""`urgency` lists first what needs attention. See `EndpointStatus.urgency`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Figures over all tenants. Each number is counted to `COUNTED` at most, and is then a lower bound.

    Attributes:
        now: The time by the store's clock, in milliseconds since the epoch, as all times here.
        waiting: Deliveries to enabled endpoints that wait for an attempt.
        failing: Those among them that wait for a retry after a failure.
        exhausted: Deliveries that have no attempts left, counted to `EXHAUSTED_COUNTED` at most.
        held: Deliveries to disabled endpoints.
        oldest_due: When the first delivery to an endpoint that works is due. None if there are none. Deliveries to
            endpoints that are failing, paused or called at a pace wait on purpose.
        endpoints: Endpoints of all tenants.
        endpoints_failing: Enabled endpoints whose last attempt failed.
        endpoints_disabled: Disabled endpoints.
        outbox_waiting: Events in the outbox of this database that are not in the log yet.
        outbox_oldest: When the oldest of them was stored. None if there are none.
        dead_lettered: Events in that outbox that the log refused.
        storage_bytes: The size of the database: of the SQLite file, or of the tables in the schema.
        dispatchers: Processes that deliver and that reported within the last minute.
    """

    now: int
    waiting: int = 0
    failing: int = 0
    exhausted: int = 0
    held: int = 0
    oldest_due: int | None = None
    endpoints: int = 0
    endpoints_failing: int = 0
    endpoints_disabled: int = 0
    outbox_waiting: int = 0
    outbox_oldest: int | None = None
    dead_lettered: int = 0
    storage_bytes: int = 0
    dispatchers: int = 0

    @property
    def late(self) -> float:
        """How many seconds the delivery of `oldest_due` is late."""
        return 0.0 if self.oldest_due is None else max(0.0, (self.now - self.oldest_due) / 1000)

    @property
    def outbox_late(self) -> float:
        """How many seconds the oldest event in the outbox has waited."""
        return 0.0 if self.outbox_oldest is None else max(0.0, (self.now - self.outbox_oldest) / 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointQuery:
    """A query for endpoints, newest first by default.

    Attributes:
        tenant: Only of this tenant. None means all tenants.
        state: Only in this state. None means all.
        order: By urgency requires a tenant.
        cursor: The `next_cursor` of the previous page: by time, the id that endpoints must be older than.
    """

    tenant: str | None = None
    endpoint_id: str | None = None
    state: EndpointState | None = None
    order: EndpointOrder = "newest"
    limit: int = 50
    cursor: str | None = None

    def __post_init__(self) -> None:
        if self.order == "urgency" and (self.tenant is None or self.endpoint_id is not None):
            raise ValueError("Only the endpoints of one tenant can be ordered by urgency.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatus:
    """An endpoint and how it is doing.

    Attributes:
        failing_since: When it first failed after its last success. None while it works.
        paused_until: Until when its receiver asked for a pause. None if it did not.
        waiting: Deliveries that wait, counted to 1,000 at most.
        last_failure_at: When the last failed attempt started. None if none is stored.
        status_code: The status of that attempt, or 0 without a response.
        error: Why it got no response. Empty otherwise.
    """

    endpoint: Endpoint
    failing_since: datetime | None = None
    paused_until: datetime | None = None
    waiting: int = 0
    last_failure_at: datetime | None = None
    status_code: int = 0
    error: str = field(default="")

    @property
    def state(self) -> EndpointState:
        """The state of the endpoint."""
        if self.endpoint.disabled:
            return "disabled"
        return "ok" if self.failing_since is None else "failing"

    @property
    def urgency(self) -> int:
        """How soon someone should look at it, from 0: disabled by the dispatcher, failing, paused, works, disabled."""
        if self.endpoint.disabled:
            return 4 if self.endpoint.disabled_reason == "manual" else 0
        if self.failing_since is not None:
            return 1
        return 3 if self.paused_until is None else 2

    def document(self) -> dict[str, Any]:
        """Return the endpoint as JSON, with its tenant, and names in camelCase."""
        return {
            "tenant": self.endpoint.tenant,
            **self.endpoint.document(),
            "state": self.state,
            "failingSince": _text(self.failing_since),
            "pausedUntil": _text(self.paused_until),
            "waiting": self.waiting,
            "lastFailureAt": _text(self.last_failure_at),
            "statusCode": self.status_code,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHeader:
    """An event without its payload. See `Event` for the attributes."""

    id: str
    tenant: str
    type: str
    timestamp: datetime
    event_id: str
    test: bool = False

    def document(self) -> dict[str, Any]:
        """Return the event as JSON, with its tenant, and names in camelCase."""
        return {
            "id": self.id,
            "tenant": self.tenant,
            "eventType": self.type,
            "timestamp": format_time(self.timestamp),
            "eventId": self.event_id,
            "test": self.test,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentEvents:
    """A query for the last committed events of all tenants, newest commit first.

    Attributes:
        cursor: The `next_cursor` of the previous page.
    """

    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantQuery:
    """A query for tenants that have endpoints or events, by name.

    Attributes:
        starts_with: Only tenants whose names start with this.
        failing: Only tenants with failing endpoints. `COUNTED` failing endpoints are looked at, at most.
        cursor: Only tenants after this one.
    """

    starts_with: str = ""
    failing: bool = False
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantStatus:
    """A tenant and how its endpoints are doing.

    Attributes:
        waiting: Deliveries that wait, counted to 1,000 at most.
        last_event_at: When its last event happened. None if none is stored.
    """

    tenant: str
    endpoints: int = 0
    endpoints_failing: int = 0
    endpoints_disabled: int = 0
    waiting: int = 0
    last_event_at: datetime | None = None


def is_urgency_cursor(text: str) -> bool:
    """Whether a text has the form of a cursor of endpoints by urgency."""
    urgency, _, identifier = text.partition(".")
    return urgency in ("0", "1", "2", "3", "4") and is_endpoint_id(identifier)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
