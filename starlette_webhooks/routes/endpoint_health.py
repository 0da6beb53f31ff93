"""The health of endpoints, as customers see it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from starlette_webhooks.events import format_time
from starlette_webhooks.exceptions import NotSupported
from starlette_webhooks.operations import EndpointQuery, EndpointStatus

if TYPE_CHECKING:
    from starlette_webhooks.backends.base import Backend

__all__ = ["health_of", "read_health"]


async def read_health(backend: Backend, query: EndpointQuery, *, disable_after: float) -> Mapping[str, dict[str, Any]]:
    """Return the health of the endpoints that a query finds, by their ids. Empty if the backend does not know it.

    Args:
        disable_after: The setting, in seconds. 0 means never.
    """
    try:
        page = await backend.find_endpoints(query)
    except NotSupported:
        return {}
    return {status.endpoint.id: health_of(status, disable_after=disable_after) for status in page.items}


def health_of(status: EndpointStatus, *, disable_after: float) -> dict[str, Any]:
    """Return the health of an endpoint as the routes show it. See `read_health`."""
    since = status.failing_since
    ends = None
    if since is not None and disable_after and not status.endpoint.disabled:
        ends = since + timedelta(seconds=disable_after)
    return {
        "failingSince": _text(since),
        "disablesAt": _text(ends),
        "pausedUntil": _text(status.paused_until),
        "waiting": status.waiting,
        "lastFailureAt": _text(status.last_failure_at),
        "statusCode": status.status_code,
        "error": status.error,
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
