"""Attempts, the HTTP requests that try to make a delivery, and queries for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from starlette_webhooks.endpoints import without_query
from starlette_webhooks.events import format_time
from starlette_webhooks.pagination import Page

__all__ = ["MASK", "Attempt", "AttemptPage", "AttemptQuery", "AttemptStatus"]

AttemptStatus = Literal["success", "fail"]

MASK = "••••••"
"""Stands for a value that is not shown."""

_SIGNATURE = "-signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP request that tries to make a delivery.

    Attributes:
        id: `atmpt_` and a KSUID.
        event_id: The event's public id (`msg_...`).
        event_type: The name of the event's type.
        endpoint_id: The endpoint's id (`ep_...`).
        url: The URL that was called.
        number: 1 for the first attempt of the event at this endpoint.
        timestamp: When it began, in UTC.
        status: `success` if the receiver answered 2xx, otherwise `fail`.
        status_code: The receiver's HTTP status, or 0 without a response.
        response: The first 16 KiB of the response body, as text.
        error: Why there was no response, as a text that is safe to show to the customer. Empty otherwise.
        duration_ms: From start to end, in milliseconds.
        trigger: `scheduled`, `manual` (resent or recovered by hand) or `test`.
        next_attempt_at: When the next attempt is due, as known when this one was recorded. None means never.
        headers: Those of the request and the response as JSON: `{"request": [[name, value], ...], "response": ...}`.
            Empty if they were not stored, as for scheduled attempts that succeeded.
    """

    id: str
    event_id: str
    event_type: str
    endpoint_id: str
    url: str = field(repr=False)
    number: int
    timestamp: datetime
    status: AttemptStatus
    status_code: int
    duration_ms: int
    response: str = ""
    error: str = ""
    trigger: str = "scheduled"
    next_attempt_at: datetime | None = None
    headers: str = field(default="", repr=False)

    def document(self, *, whole_url: bool = True) -> dict[str, Any]:
        """Return the attempt as the routes show it.

        Args:
            whole_url: False for those who may only read: they see the URL without its query, and no signatures.
        """
        headers = json.loads(self.headers) if self.headers else {}
        return {
            "id": self.id,
            "eventId": self.event_id,
            "eventType": self.event_type,
            "endpointId": self.endpoint_id,
            "url": self.url if whole_url else without_query(self.url),
            "number": self.number,
            "timestamp": format_time(self.timestamp),
            "status": self.status,
            "statusCode": self.status_code,
            "durationMs": self.duration_ms,
            "response": self.response,
            "error": self.error,
            "trigger": self.trigger,
            "nextAttemptAt": None if self.next_attempt_at is None else format_time(self.next_attempt_at),
            "requestHeaders": _document(headers.get("request"), signatures=whole_url),
            "responseHeaders": _document(headers.get("response"), signatures=True),
        }


def _document(headers: Sequence[tuple[str, str]] | None, *, signatures: bool) -> list[dict[str, str]] | None:
    if headers is None:
        return None
    return [
        {"name": name, "value": value if signatures or not name.endswith(_SIGNATURE) else MASK}
        for name, value in headers
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptQuery:
    """A query for attempts, newest first and older than `cursor`, which is an attempt's id.

    Attributes:
        status_code_class: 2 for 200 to 299, and so on. 0 for no response.
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


AttemptPage = Page[Attempt]
