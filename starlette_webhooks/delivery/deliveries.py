"""Deliveries on their way from a store to the dispatcher and back: what is due, what was leased, and what became of it.

Times are whole milliseconds since the epoch by the store's clock. Endpoints, events and deliveries are named by the
numbers under which the store keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Claim", "DisabledEndpoint", "DueEndpoint", "DuePage", "LeasedDelivery", "Outcome"]


@dataclass(frozen=True, slots=True)
class DueEndpoint:
    """An enabled endpoint with deliveries: when the first one is due, and whether its last attempt failed."""

    endpoint: int
    due: float
    failing: bool


@dataclass(frozen=True, slots=True)
class DuePage:
    """Some of the endpoints with deliveries, and the number to continue after; None if these were the last."""

    endpoints: Sequence[DueEndpoint]
    after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedDelivery:
    """A delivery leased to this process, with everything its attempt needs.

    Attributes:
        number: 1 for the first attempt.
        step: Index of this attempt in the retry schedule.
        lease: When the lease ends.
        secrets: The keys to sign with, the current one first.
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


@dataclass(slots=True)
class Claim:
    """What was leased, and what to do about the other endpoints that asked for slots.

    Attributes:
        remaining: Endpoints that have more deliveries due than they got slots.
        unserved: Endpoints that have deliveries due and got no slot, in the order of the requests.
        waiting: When the first delivery of an endpoint is due, or when its rate limit allows one; (time, endpoint).
        failing: Endpoints whose last attempt failed.
    """

    deliveries: list[LeasedDelivery] = field(default_factory=list)
    remaining: list[int] = field(default_factory=list)
    unserved: list[int] = field(default_factory=list)
    waiting: list[tuple[float, int]] = field(default_factory=list)
    failing: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an attempt.

    Attributes:
        started, ended: When.
        next_due: When to try again after a failure; None for never.
        pause_until: Until when the receiver wants no attempts at all, or 0.
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


@dataclass(frozen=True, slots=True)
class DisabledEndpoint:
    """An endpoint that was disabled just now. `reason` is `gone` or `failing`."""

    id: str
    tenant: str
    url: str = field(repr=False)
    reason: str
