"""Opens a file: checks its permissions, owner and integrity."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
from pathlib import Path

from starlette_webhooks.database_url import MEMORY
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.file_locks import find_holder
from starlette_webhooks.log_fields import log_fields

__all__ = [
    "APPLICATION_ID",
    "check_for_damage",
    "check_ownership",
    "connect",
    "connect_to_read",
    "empty_wal",
    "find_writer",
    "open_database",
]

logger = logging.getLogger("starlette_webhooks")

APPLICATION_ID = int.from_bytes(b"whks")
"""Marks a file as ours in the header that SQLite and `file(1)` read: https://sqlite.org/fileformat.html."""

# `WAL_WRITE_LOCK` on the `-shm`: https://sqlite.org/walformat.html, section 2.3.1.
_WRITE_LOCK = "120"
_TABLES = {"meta", "event", "endpoint", "delivery", "attempt"}


def connect(path: str, *, busy_seconds: float) -> sqlite3.Connection:
    """Return a connection for any thread, one at a time. Never creates the file."""
    in_memory = path == MEMORY
    connection = sqlite3.connect(
        # If the file was moved, SQLite would create an empty one in its place, and delete the `-wal` beside it.
        path if in_memory else f"{Path(path).absolute().as_uri()}?mode=rw",
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        uri=not in_memory,
    )
    try:
        connection.execute("PRAGMA cache_size = -32768")
        # Otherwise, a statement that inserts several rows may create a file to be able to undo them.
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def find_writer(path: str) -> str | None:
    """Return the process that holds SQLite's lock for writing, such as `process 1234`, if the system knows it."""
    return find_holder(f"{path}-shm", "POSIX", _WRITE_LOCK)


def open_database(path: str, *, busy_seconds: float) -> sqlite3.Connection:
    """Return the connection that writes. Only one process may do this at a time.

    Raises:
        BackendUnavailable: The file belongs to another application.
        sqlite3.Error: The file cannot be opened.
    """
    if path != MEMORY:
        _create(path)
    connection = connect(path, busy_seconds=busy_seconds)
    try:
        check_ownership(connection, path)
        if path != MEMORY:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # Creates `-wal` and `-shm` if they do not exist.
        connection.execute("PRAGMA schema_version").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: str) -> None:
    # By default, SQLite creates files that everyone can read. `-wal` and `-shm` get the same mode as the file.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if os.name == "posix" and mode & stat.S_IROTH:
        logger.warning(
            "All users can read the database %r (mode %o), which contains secrets. Run `chmod 600` on it.",
            path,
            mode,
            extra=log_fields("database.readable"),
        )


def empty_wal(connection: sqlite3.Connection, *, busy_seconds: float) -> bool:
    """Move the contents of the `-wal` into the file, and empty it. Returns False if a reader is in the way.

    The caller has no transaction open, and keeps other processes from writing.
    """
    # Without waiting for readers, which would hold up all writes.
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:  # pragma: no cover  The checkpoint itself must fail.
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
    return not busy


def check_ownership(connection: sqlite3.Connection, path: str) -> None:
    """Refuse a database of another application.

    Raises:
        BackendUnavailable: The database belongs to another application.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    # Files from before the mark are recognised by their tables.
    ours = application == APPLICATION_ID or (application == 0 and (not tables or tables >= _TABLES))
    if not ours or (version == 0 and tables):
        raise BackendUnavailable(
            f"The file {path!r} is a database of another application. Set `WEBHOOKS_DATABASE` to another path."
        )
    if version and application != APPLICATION_ID:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def check_for_damage(path: str, *, seconds: float, remedy: str | None = None) -> None:
    """Refuse a file that is damaged, such as a backup that was copied over a file whose `-wal` was left.

    A large file is checked as far as the time allows. The connection only reads: otherwise, closing it could write the
    contents of the `-wal` into the copy, which is intact by itself.

    Args:
        remedy: What to do if it is damaged. By default, restore a backup.

    Raises:
        BackendUnavailable: The file is damaged.
    """
    if not os.path.exists(path):
        return
    wal = f"{path}-wal"
    wal_was_left = os.path.exists(wal) and os.path.getsize(wal) > 0
    try:
        found = _quick_check(path, seconds)
    except sqlite3.OperationalError:
        # Out of time, or the file cannot be opened. The latter is reported when it is opened for writing.
        return
    except sqlite3.DatabaseError as exc:
        if exc.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            return
        found = str(exc)
    if found == "ok":
        return
    if remedy is None and wal_was_left:
        remedy = (
            "If a backup was copied over it, the copy itself is intact: stop all processes that use it, remove "
            f"{wal!r} and '{path}-shm', and start again."
        )
    raise BackendUnavailable(f"The database {path!r} is damaged: {found}. {remedy or 'Restore a backup.'}")


def _quick_check(path: str, seconds: float) -> str:
    connection = connect_to_read(path, busy_seconds=seconds)
    # Not a progress handler: SQLite before 3.44 does not call it within the check.
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    finally:
        timer.cancel()
        timer.join()
        connection.close()
    return " ".join(str(found).split())


def connect_to_read(path: str, *, busy_seconds: float) -> sqlite3.Connection:
    """Return a connection that writes nothing, not even the contents of the `-wal` when it closes last."""
    return sqlite3.connect(
        f"{Path(path).as_uri()}?mode=ro", uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False
    )
