"""Exports a file table by table, for another database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette_webhooks.stores.sqlite.queries import load_queries

__all__ = ["TABLES", "ExportedTable", "export", "last_number"]

_QUERIES = load_queries("export.sql")

TABLES = (
    "meta",
    "event",
    "event_channel",
    "endpoint",
    "endpoint_secret",
    "subscription",
    "delivery",
    "attempt",
    "endpoint_hour",
    "svix_outbox",
    "svix_event_type",
)


@dataclass(frozen=True, slots=True)
class ExportedTable:
    """The rows of a table, from the same snapshot as the other tables."""

    name: str
    columns: tuple[str, ...]
    count: int
    rows: Iterator[tuple[Any, ...]]


def export(connection: sqlite3.Connection, *, hour: int) -> Iterator[ExportedTable]:
    """Yield each table of a file.

    Args:
        hour: Hourly statistics are exported up to this hour, in milliseconds since the epoch.
    """
    for name in TABLES:
        values = {"hour": hour}
        query = _QUERIES[name]
        ((count,),) = connection.execute(f"SELECT count(*) FROM ({query})", values)
        cursor = connection.execute(query, values)
        columns = tuple(column[0] for column in cursor.description)
        yield ExportedTable(name, columns, count, iter(cursor))


def last_number(connection: sqlite3.Connection, table: str) -> int:
    """Return the greatest number that a table has ever assigned, also to deleted rows."""
    row = connection.execute(_QUERIES["last_number"], (table,)).fetchone()
    return 0 if row is None else int(row[0])
