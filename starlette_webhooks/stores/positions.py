"""Where lists over all tenants start."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from starlette_webhooks.pagination import invalid_cursor

if TYPE_CHECKING:
    from starlette_webhooks.operations import EndpointQuery

__all__ = ["AFTER_ALL_IDS", "endpoints_of", "first_endpoint", "first_position"]

AFTER_ALL_IDS = "ep_~"
"""Comes after the ids of all endpoints."""

_POSITION = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


def first_position(cursor: str | None) -> int:
    """Return the position that events must be before.

    Raises:
        InvalidRequest: The cursor is not valid.
    """
    if cursor is None:
        return 2**63 - 1
    if _POSITION.fullmatch(cursor) is None:
        raise invalid_cursor()
    return int(cursor)


def endpoints_of(query: EndpointQuery) -> str:
    """Return the name of the statement that selects the endpoints of a query."""
    if query.endpoint_id is not None:
        return "of_id"
    if query.order == "urgency":
        return "of_tenant_by_urgency"
    return "all" if query.tenant is None else "of_tenant"


def first_endpoint(query: EndpointQuery) -> dict[str, Any]:
    """Return the place that endpoints must come after: the values `cursor` and, by urgency, `urgency` of statements."""
    if query.order == "newest" or query.cursor is None:
        return {"urgency": -1, "cursor": query.cursor or AFTER_ALL_IDS}
    urgency, _, identifier = query.cursor.partition(".")
    return {"urgency": int(urgency), "cursor": identifier}
