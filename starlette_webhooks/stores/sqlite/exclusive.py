"""Exclusive access to a file, for moving it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.sqlite.opening import check_for_damage, check_ownership, connect

__all__ = ["opened_alone"]

_SECONDS = 1.0


@contextmanager
def opened_alone(path: str, *, remedy: str | None = None) -> Generator[sqlite3.Connection]:
    """Open a file that no other process has open, and that no other process can open before the block ends.

    Args:
        remedy: What to do if the file is damaged. See `check_for_damage`.

    Raises:
        BackendUnavailable: Another process has the file open, or it cannot be opened.
    """
    location = os.path.realpath(path)
    check_for_damage(location, seconds=_SECONDS, remedy=remedy)
    try:
        connection = connect(location, busy_seconds=_SECONDS)
    except sqlite3.Error as exc:
        text = f"The database {path!r} cannot be opened: {exc}."
        if remedy is not None and exc.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            # Its first page is damaged, or it never was a database.
            text += f" {remedy}"
        raise BackendUnavailable(text) from exc
    try:
        try:
            # In WAL mode, every open connection holds a shared lock, and this needs all of them:
            # https://sqlite.org/pragma.html#pragma_locking_mode
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise BackendUnavailable(f"The database {path!r} cannot be opened: {exc}.") from exc
            raise BackendUnavailable(
                f"Another process has the database {path!r} open. Stop all processes of the app that use it."
            ) from exc
        check_ownership(connection, path)
        yield connection
    finally:
        connection.close()
