"""Where lists over all tenants start."""

from __future__ import annotations

import re

from starlette_webhooks.pagination import invalid_cursor

__all__ = ["AFTER_ALL_IDS", "first_position"]

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
