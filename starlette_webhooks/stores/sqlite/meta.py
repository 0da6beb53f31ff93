"""Values that all processes share. Runs on the database's thread."""

from __future__ import annotations

import sqlite3

from starlette_webhooks.stores.sqlite.queries import load_queries

__all__ = ["read_meta"]

_QUERIES = load_queries("meta.sql")


def read_meta(connection: sqlite3.Connection, name: str, default: bytes) -> bytes:
    """A value kept in the database; stored as `default` the first time."""
    connection.execute(_QUERIES["put_meta"], (name, default))
    row = connection.execute(_QUERIES["get_meta"], (name,)).fetchone()
    return bytes(row[0])
