"""What the rows that stores read mean for the states of an event's deliveries, for all stores."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette_webhooks.event_states import DeliveryState, EventDelivery, EventSummary, UnsentReason
from starlette_webhooks.events import Event
from starlette_webhooks.stores.moments import from_ms, to_ms
from starlette_webhooks.stores.undelivered import NEVER

__all__ = [
    "COUNTED_STATES",
    "PREVIEW_BYTES",
    "SEARCHED_BYTES",
    "SEARCHED_SECONDS",
    "to_delivery",
    "to_summary",
]

COUNTED_STATES = 100
"""The maximum of deliveries of an event that are counted in each state."""
PREVIEW_BYTES = 1024
"""How much of a payload is read for its preview: the type has 256 characters at most."""
SEARCHED_BYTES = 33_554_432
"""The maximum of payload bytes that one page searches for a text."""
SEARCHED_SECONDS = 0.5
"""After this time, a page ends early."""

_PREVIEW = 160
_DATA = b'"data":'


def to_summary(row: Sequence[Any], counts: Sequence[int]) -> EventSummary:
    """Return an event from the columns `id, type, timestamp, test`, the start of its payload and its size."""
    identifier, event_type, timestamp, test, start, size = row
    delivered, waiting, failing, exhausted = counts
    return EventSummary(
        id=identifier,
        type=event_type,
        timestamp=from_ms(timestamp),
        test=bool(test),
        preview=_preview(bytes(start), complete=len(start) == size),
        delivered=delivered,
        waiting=waiting,
        failing=failing,
        exhausted=exhausted,
    )


def _preview(start: bytes, *, complete: bool) -> str:
    data = start[start.find(_DATA) + len(_DATA) :]
    # Without the brace that ends the payload.
    text = (data[:-1] if complete else data).decode("utf-8", "ignore")
    return text if complete and len(text) <= _PREVIEW else f"{text[:_PREVIEW]}…"


@dataclass(frozen=True, slots=True)
class _Target:
    """The endpoint of a row."""

    id: str
    url: str = field(repr=False)
    event_types: Collection[str]
    channels: Collection[str]
    disabled: bool
    created_at: int


def to_delivery(event: Event, row: Sequence[Any]) -> EventDelivery:
    """Return the delivery of an event to an endpoint from the columns that `event_states.sql` selects."""
    identifier, url, types, channels, disabled, created_at, due, step, leased, *attempt, delivered = row
    number, attempted_at, status_code, error = attempt
    target = _Target(identifier, url, json.loads(types), json.loads(channels), bool(disabled), created_at)
    state = _state(due, step, number or 0, delivered=bool(delivered))
    waits = due is not None and due < NEVER and not leased and not target.disabled
    return EventDelivery(
        endpoint_id=target.id,
        endpoint_disabled=target.disabled,
        url=target.url,
        state=state,
        reason=_reason(event, target) if state == "unsent" else None,
        attempts=number or 0,
        last_attempt_at=None if attempted_at is None else from_ms(attempted_at),
        status_code=status_code or 0,
        error=error or "",
        next_attempt_at=from_ms(due) if waits else None,
        running=bool(leased),
    )


def _state(due: int | None, step: int | None, attempts: int, *, delivered: bool) -> DeliveryState:
    if delivered:
        return "delivered"
    if due is not None and due < NEVER:
        return "failing" if step else "waiting"
    return "exhausted" if attempts or due is not None else "unsent"


def _reason(event: Event, target: _Target) -> UnsentReason:
    if target.event_types and event.type not in target.event_types:
        return "event_type"
    if target.channels and not set(target.channels) & set(event.channels):
        return "channel"
    if target.created_at > to_ms(event.timestamp):
        return "added_later"
    if target.disabled:
        return "disabled"
    return "test" if event.test else "changed_since"
