"""Convert rows to objects. Both stores select the same columns in the same order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from starlette_webhooks.attempts import Attempt
from starlette_webhooks.endpoints import Endpoint, EndpointStats
from starlette_webhooks.events import Event
from starlette_webhooks.operations import EndpointQuery, EndpointStatus, EventHeader
from starlette_webhooks.pagination import Page
from starlette_webhooks.payloads import implied_event_id
from starlette_webhooks.stores.limits import LIST_BYTES
from starlette_webhooks.stores.moments import from_ms

__all__ = [
    "page_of",
    "text_size",
    "to_attempt",
    "to_endpoint",
    "to_event",
    "to_header",
    "to_stats",
    "to_statuses",
]

T = TypeVar("T")


def text_size(row: Sequence[Any]) -> int:
    """Return the number of characters in the texts of a row."""
    return sum([len(value) for value in row if isinstance(value, str)])


def page_of(
    rows: Iterable[Sequence[Any]], limit: int, to_item: Callable[[Sequence[Any]], T], id_of: Callable[[T], str]
) -> Page[T]:
    """Return a page. One row more than the limit means that there is a next one, and long texts end it early."""
    items: list[T] = []
    size = 0
    for row in rows:
        if len(items) == limit or size > LIST_BYTES:
            return Page(items, id_of(items[-1]), False)
        items.append(to_item(row))
        size += text_size(row)
    return Page(items, None, True)


def to_event(split: Callable[[str], Sequence[str]], row: Sequence[Any]) -> Event:
    """Return an event from the columns `seq, id, tenant, type, timestamp, event_id, channels, payload, test`.

    Args:
        split: Reads the channels, which each store stores in its own format.
    """
    _, identifier, tenant, event_type, timestamp, event_id, channels, payload, test = row
    return Event(
        identifier,
        tenant,
        event_type,
        payload,
        from_ms(timestamp),
        event_id or implied_event_id(identifier),
        tuple(split(channels)) if channels else (),
        bool(test),
    )


def to_header(row: Sequence[Any]) -> EventHeader:
    """Return an event without its payload from the columns `seq, id, tenant, type, timestamp, event_id, test`."""
    _, identifier, tenant, event_type, timestamp, event_id, test = row
    return EventHeader(
        id=identifier,
        tenant=tenant,
        type=event_type,
        timestamp=from_ms(timestamp),
        event_id=event_id or implied_event_id(identifier),
        test=bool(test),
    )


def to_statuses(rows: Sequence[Sequence[Any]], query: EndpointQuery, *, now: int) -> Page[EndpointStatus]:
    """Return a page of endpoints and how they are doing. It ends early as `EndpointStore.list_endpoints` does."""
    cursor_of = _by_urgency if query.order == "urgency" else _by_time
    return page_of(rows, query.limit, partial(_to_status, now=now), cursor_of)


def _by_time(status: EndpointStatus) -> str:
    return status.endpoint.id


def _by_urgency(status: EndpointStatus) -> str:
    return f"{status.urgency}.{status.endpoint.id}"


def _to_status(row: Sequence[Any], *, now: int) -> EndpointStatus:
    """Return an endpoint and how it is doing from the columns that `operations.sql` selects, without its number."""
    *endpoint, failing_since, paused_until, waiting, failed_at, status_code, error = row
    return EndpointStatus(
        endpoint=to_endpoint(endpoint),
        failing_since=None if failing_since is None else from_ms(failing_since),
        paused_until=from_ms(paused_until) if paused_until > now else None,
        waiting=waiting,
        last_failure_at=None if failed_at is None else from_ms(failed_at),
        status_code=status_code or 0,
        error=error or "",
    )


def to_endpoint(row: Sequence[Any]) -> Endpoint:
    """Return an endpoint from the columns that `endpoints.sql` selects, without its number."""
    identifier, tenant, url, description, types, channels, reason, rate, metadata, headers, created, updated = row
    return Endpoint(
        id=identifier,
        tenant=tenant,
        url=url,
        description=description,
        event_types=tuple(json.loads(types)),
        channels=tuple(json.loads(channels)),
        disabled=reason is not None,
        disabled_reason=reason,
        rate_limit=rate,
        metadata=json.loads(metadata),
        headers=json.loads(headers),
        created_at=from_ms(created),
        updated_at=from_ms(updated),
    )


def to_attempt(row: Sequence[Any]) -> Attempt:
    """Return an attempt from the columns that `attempts.sql` selects."""
    (identifier, event_id, event_type, endpoint_id, url, number, timestamp, ok, *rest) = row
    status_code, duration_ms, response, error, trigger, next_attempt_at, headers = rest
    return Attempt(
        id=identifier,
        event_id=event_id,
        event_type=event_type,
        endpoint_id=endpoint_id,
        url=url,
        number=number,
        timestamp=from_ms(timestamp),
        status="success" if ok else "fail",
        status_code=status_code,
        duration_ms=duration_ms,
        response=response,
        error=error,
        trigger=trigger,
        next_attempt_at=None if next_attempt_at is None else from_ms(next_attempt_at),
        headers=headers or "",
    )


def to_stats(hours: Sequence[Sequence[Any]], pending: int, since: datetime, until: datetime) -> EndpointStats:
    """Return the statistics of an endpoint.

    Args:
        hours: Rows with the start of an hour, its successes and its failures.
    """
    return EndpointStats(
        success=sum(hour[1] for hour in hours),
        fail=sum(hour[2] for hour in hours),
        pending=pending,
        since=since,
        until=until,
        buckets=[(from_ms(hour), success, fail) for hour, success, fail in hours],
    )
