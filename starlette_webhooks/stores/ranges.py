"""Ranges of ids. Lists are sorted by id, newest first, and an id starts with its time."""

from __future__ import annotations

import re
from datetime import datetime

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.event_states import EventSearch
from starlette_webhooks.events import EventQuery
from starlette_webhooks.identifiers import first_id
from starlette_webhooks.pagination import invalid_cursor
from starlette_webhooks.stores.moments import to_ms

__all__ = ["attempt_range", "event_range"]

_ATTEMPT = re.compile(r"atmpt_[0-9A-Za-z]{27}", re.ASCII)


def event_range(query: EventQuery | EventSearch) -> tuple[str, str]:
    """Return the upper bound of event ids, exclusive, and the lower bound, inclusive."""
    return _range("msg_", query.cursor, query.before, query.after)


def attempt_range(query: AttemptQuery) -> tuple[str, str]:
    """Return the upper bound of attempt ids, exclusive, and the lower bound, inclusive.

    Raises:
        InvalidRequest: The cursor is not valid.
    """
    if query.cursor is not None and _ATTEMPT.fullmatch(query.cursor) is None:
        raise invalid_cursor()
    return _range("atmpt_", query.cursor, query.before, query.after)


def _range(prefix: str, cursor: str | None, before: datetime | None, after: datetime | None) -> tuple[str, str]:
    # `~` comes after all characters of an id.
    high = cursor or f"{prefix}~"
    if before is not None:
        high = min(high, first_id(prefix, to_ms(before)))
    return high, "" if after is None else first_id(prefix, to_ms(after))
