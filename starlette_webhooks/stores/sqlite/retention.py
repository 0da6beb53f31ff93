"""Removes old events, and the events of a tenant. The functions run on the database's thread, a batch at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from starlette_webhooks.stores.resuming import Removed, removed_name
from starlette_webhooks.stores.sqlite.meta import get_meta, write_meta
from starlette_webhooks.stores.sqlite.queries import load_queries

__all__ = ["erase_events", "prune"]

_QUERIES = load_queries("retention.sql")


def prune(connection: sqlite3.Connection, after: int, before: int, now: int, batch: int = 200) -> int | None:
    """Remove events older than `before` (in milliseconds) without pending deliveries, from a batch after `after`.

    Returns where to continue, or None at the end.
    """
    rows = connection.execute(_QUERIES["old_events"], (after, batch)).fetchall()
    _delete_all(connection, [row[:5] for row in rows if row[5] < before and not row[6]])
    # If the clock was ahead for a while, events from after that time are older than those from within it.
    if not any(row[5] < before or row[5] > now for row in rows):
        connection.execute(_QUERIES["delete_old_hours"], (before,))
        return None
    return int(rows[-1][0])


def erase_events(connection: sqlite3.Connection, tenant: str, batch: int = 200) -> bool:
    """Remove a batch of a tenant's events with everything that depends on them. Returns False if none are left."""
    rows = connection.execute(_QUERIES["events_of_tenant"], (tenant, batch)).fetchall()
    _delete_all(connection, rows)
    return bool(rows)


def _delete_all(connection: sqlite3.Connection, rows: Sequence[tuple[int, str, str, str, str | None]]) -> None:
    """Remove events, and note it for streams that were to resume with them."""
    removed: dict[str, Removed] = {}
    for row in rows:
        _delete(connection, *row)
        seq, identifier, tenant = row[:3]
        if tenant not in removed:
            removed[tenant] = Removed.decode(get_meta(connection, removed_name(tenant)))
        removed[tenant] = removed[tenant].including(seq, identifier)
    for tenant, noted in removed.items():
        write_meta(connection, removed_name(tenant), noted.encode())


def _delete(
    connection: sqlite3.Connection, seq: int, identifier: str, tenant: str, event_type: str, channels: str | None
) -> None:
    for channel in json.loads(channels or "[]"):
        connection.execute(_QUERIES["delete_channel"], (tenant, channel, event_type, identifier))
    connection.execute(_QUERIES["delete_deliveries_of_event"], (seq,))
    connection.execute(_QUERIES["delete_attempts_of_event"], (seq,))
    connection.execute(_QUERIES["delete_event"], (seq,))
