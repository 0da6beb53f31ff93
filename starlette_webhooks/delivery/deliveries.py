"""What a store and the dispatcher exchange: due endpoints, leased deliveries, and the outcomes of attempts.

Times are whole milliseconds since the epoch by the store's clock. Endpoints, events and deliveries are identified by
the numbers that the store gave them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette_webhooks.log_fields import log_fields

__all__ = ["Claim", "DisabledEndpoint", "DueEndpoint", "DuePage", "LeasedDelivery", "Outcome"]


@dataclass(frozen=True, slots=True)
class DueEndpoint:
    """An enabled endpoint with deliveries, when the first one is due, and whether the last attempt failed."""

    endpoint: int
    due: float
    failing: bool


@dataclass(frozen=True, slots=True)
class DuePage:
    """A page of endpoints with deliveries, and the number to continue after, or None on the last page.

    Attributes:
        urgent: All endpoints with urgent deliveries, on any page.
    """

    endpoints: Sequence[DueEndpoint]
    after: int | None
    urgent: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedDelivery:
    """A delivery leased to this process, with everything that an attempt needs.

    Attributes:
        number: 1 for the first attempt.
        step: Index of this attempt in the retry schedule.
        lease: When the lease ends.
        secrets: The keys to sign with, the current one first.
        proven: Whether the server of the URL had accepted a delivery before.
        trace: The trace context in which the event was emitted, as `traceparent`, if it was stored.
    """

    id: int
    event: int
    endpoint: int
    number: int
    step: int
    trigger: str
    lease: int
    event_id: str
    event_type: str
    payload: bytes = field(repr=False)
    tenant: str
    endpoint_id: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    proven: bool = True
    trace: str | None = None

    def log_fields(self, action: str, **details: str | int | None) -> dict[str, Any]:
        """Return the fields of a log record about this delivery. See `log_fields`."""
        return log_fields(
            action,
            tenant=self.tenant,
            endpointId=self.endpoint_id,
            eventId=self.event_id,
            number=self.number,
            **details,
        )


@dataclass(slots=True)
class Claim:
    """What was leased, and the state of the other endpoints that requested slots.

    Attributes:
        remaining: Endpoints with more due deliveries than slots.
        unserved: Endpoints with due deliveries that got no slot, in the order of the requests.
        waiting: Pairs of a time and an endpoint: when its first delivery is due, or when its pace allows one.
        failing: Endpoints whose last attempt failed.
    """

    deliveries: list[LeasedDelivery] = field(default_factory=list)
    remaining: list[int] = field(default_factory=list)
    unserved: list[int] = field(default_factory=list)
    waiting: list[tuple[float, int]] = field(default_factory=list)
    failing: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of an attempt.

    Attributes:
        started, ended: When the attempt started and ended.
        next_due: When to retry after a failure. None means never.
        pause_until: Until when the receiver wants no attempts, or 0.
        headers: Those of the request and the response as JSON. See `encode_headers`. Empty for scheduled attempts that
            succeeded, which nobody looks into.
        silent: Whether it makes no events, because they could not be stored.
    """

    delivery: LeasedDelivery
    attempt_id: str
    ok: bool
    started: int
    ended: int
    duration_ms: int
    status_code: int = 0
    response: str = ""
    error: str = ""
    next_due: int | None = None
    pause_until: int = 0
    headers: str = field(default="", repr=False)
    silent: bool = False


@dataclass(frozen=True, slots=True)
class DisabledEndpoint:
    """An endpoint that has just been disabled. `reason` is `gone` or `failing`."""

    id: str
    tenant: str
    url: str = field(repr=False)
    reason: str
