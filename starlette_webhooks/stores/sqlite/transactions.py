"""Runs many writes in one transaction. A write that is at fault fails alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.sqlite.joint import Joint
from starlette_webhooks.stores.sqlite.lineage import count_commit
from starlette_webhooks.stores.writes import Write

__all__ = ["change_nothing", "concerns_database", "rewrite_header", "write_together"]

Connection = sqlite3.Connection

# With these, every write would fail: https://sqlite.org/rescode.html.
_CODES = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    )
)


def concerns_database(error: Exception | None) -> bool:
    """Return whether the database is unusable, so that no write is at fault and others would fail too."""
    if isinstance(error, sqlite3.Error):
        # The low byte. The others have more details.
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _CODES
    return isinstance(error, BackendUnavailable)


def write_together(connection: Connection, writes: Sequence[Write[Any]]) -> None:
    """Run writes in one transaction, and store in each its result or its error.

    Raises:
        sqlite3.Error: The database cannot be written, and no write took effect.
    """
    try:
        _transaction(connection, writes, apart=False)
    except Exception as exc:
        if concerns_database(exc):
            # Not again: that would only wait as long once more.
            raise
        if len(writes) == 1 and _joint(writes[0]) is None:
            writes[0].error = exc
        else:
            # One of them is at fault. Run all again, each in a savepoint, so that it fails alone. Statements for many
            # also fail if one event was already stored, which is not a fault.
            _transaction(connection, writes, apart=True)


def _transaction(connection: Connection, writes: Sequence[Write[Any]], *, apart: bool) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if apart:
            for write in writes:
                _run_apart(connection, write)
        else:
            _run_together(connection, writes)
        count_commit(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _run_apart(connection: Connection, write: Write[Any]) -> None:
    connection.execute("SAVEPOINT one")
    try:
        write.result = write.operation(connection)
    except Exception as exc:
        if not connection.in_transaction:  # pragma: no cover  A full disk rolls the whole transaction back.
            raise
        write.error = exc
        connection.execute("ROLLBACK TO one")
    connection.execute("RELEASE one")


def _run_together(connection: Connection, writes: Sequence[Write[Any]]) -> None:
    for kind, group in groupby(writes, key=_joint):
        if kind is None:
            for write in group:
                write.result = write.operation(connection)
        else:
            neighbours = list(group)
            operations: list[Any] = [write.operation for write in neighbours]
            results = kind.run_together(connection, operations)
            for write, result in zip(neighbours, results, strict=True):
                write.result = result


def _joint(write: Write[Any]) -> type[Joint[Any]] | None:
    operation = write.operation
    return type(operation) if isinstance(operation, Joint) and operation.joins else None


def change_nothing(connection: Connection) -> None:
    """Change nothing. Everything that belongs to a commit still runs."""


def rewrite_header(connection: Connection) -> None:
    """Write a page, because an empty transaction would succeed on a full disk."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version}")
