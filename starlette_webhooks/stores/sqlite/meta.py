"""Values that all processes share. Runs on the database's thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

from starlette_webhooks.database_url import MEMORY
from starlette_webhooks.stores.environments import META_ENVIRONMENT, check_environment
from starlette_webhooks.stores.moves import META_MOVED_TO, check_moved
from starlette_webhooks.stores.sqlite.queries import load_queries

__all__ = ["check_meta", "drop_meta", "find_meta", "get_meta", "read_meta", "set_meta", "swap_meta", "write_meta"]

_QUERIES = load_queries("meta.sql")


def read_meta(connection: sqlite3.Connection, name: str, default: bytes) -> bytes:
    """Return a stored value. It is stored as `default` the first time."""
    connection.execute(_QUERIES["put_meta"], (name, default))
    row = connection.execute(_QUERIES["get_meta"], (name,)).fetchone()
    return bytes(row[0])


def get_meta(connection: sqlite3.Connection, name: str) -> bytes | None:
    """A value kept in the database; None if there is none."""
    row = connection.execute(_QUERIES["get_meta"], (name,)).fetchone()
    return None if row is None else bytes(row[0])


def set_meta(connection: sqlite3.Connection, name: str, value: bytes | None) -> None:
    """Keep a value in the database; None removes it."""
    if value is None:
        connection.execute(_QUERIES["delete_meta"], (name,))
    else:
        connection.execute(_QUERIES["replace_meta"], (name, value))


def check_meta(connection: sqlite3.Connection, path: str, environment: str | None) -> None:
    """Refuse a file that was moved away, or that belongs to another environment, and bind it to this one.

    Raises:
        BackendUnavailable: It is refused.
    """
    check_moved(get_meta(connection, META_MOVED_TO), path)
    if path != MEMORY and check_environment(
        get_meta(connection, META_ENVIRONMENT), environment, f"the database {path!r}"
    ):
        assert environment is not None
        connection.execute(_QUERIES["put_meta"], (META_ENVIRONMENT, environment.encode()))


def write_meta(connection: sqlite3.Connection, name: str, value: bytes) -> None:
    """Store a value, and replace an existing one."""
    connection.execute(_QUERIES["replace_meta"], (name, value))


def swap_meta(connection: sqlite3.Connection, name: str, old: bytes, new: bytes) -> bool:
    """Replace a value if it still is the old one. Returns whether it was."""
    return connection.execute(_QUERIES["swap_meta"], {"name": name, "old": old, "new": new}).rowcount == 1


def find_meta(connection: sqlite3.Connection, names: Collection[str]) -> dict[str, bytes]:
    """The values that exist, of these names."""
    rows = connection.execute(_QUERIES["find_meta"], (json.dumps(list(names)),))
    return {name: bytes(value) for name, value in rows}


def drop_meta(connection: sqlite3.Connection, start: str, end: str) -> None:
    """Remove the values with names between these two."""
    connection.execute(_QUERIES["drop_meta"], (start, end))
