"""Opening a file: its permissions, whose it is, whether it is sound, and its schema."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
from pathlib import Path

from starlette_webhooks.database_url import MEMORY
from starlette_webhooks.exceptions import BackendUnavailable

__all__ = ["APPLICATION_ID", "check_for_damage", "check_ownership", "connect", "open_database"]

logger = logging.getLogger("starlette_webhooks")

APPLICATION_ID = int.from_bytes(b"whks")
"""Marks a file as ours, in the header that `file(1)` and SQLite read: https://sqlite.org/fileformat.html."""

_TABLES = {"meta", "event", "endpoint", "delivery", "attempt"}


def connect(path: str, *, busy_seconds: float) -> sqlite3.Connection:
    """A connection that may be used by any thread, one at a time. It never creates the file."""
    in_memory = path == MEMORY
    connection = sqlite3.connect(
        # If it was moved away, SQLite would make an empty file in its place, and then delete the `-wal` beside it.
        path if in_memory else f"{Path(path).absolute().as_uri()}?mode=rw",
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        uri=not in_memory,
    )
    connection.execute("PRAGMA cache_size = -32768")
    # Else a statement that inserts several rows may make a file, for what it would undo.
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def open_database(path: str, *, busy_seconds: float) -> sqlite3.Connection:
    """The connection that writes. No other process may do this at the same time.

    Raises:
        BackendUnavailable: The file belongs to another application.
        sqlite3.Error: It cannot be opened.
    """
    if path != MEMORY:
        _create(path)
    connection = connect(path, busy_seconds=busy_seconds)
    try:
        check_ownership(connection, path)
        if path != MEMORY:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # Makes `-wal` and `-shm`, if they are not there yet.
        connection.execute("PRAGMA schema_version").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: str) -> None:
    # SQLite would make it as the umask says, which is for everybody to read, and gives `-wal` and `-shm` the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if os.name == "posix" and mode & stat.S_IROTH:
        logger.warning(
            "Every user may read the database %r (mode %o), which holds secrets. `chmod 600` it.", path, mode
        )


def check_ownership(connection: sqlite3.Connection, path: str) -> None:
    """Refuse a database of another application.

    Raises:
        BackendUnavailable: It is one.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    # Files from before the mark are told by their tables.
    ours = application == APPLICATION_ID or (application == 0 and (not tables or tables >= _TABLES))
    if not ours or (version == 0 and tables):
        raise BackendUnavailable(
            f"The file {path!r} is a database of another application. Set `WEBHOOKS_DATABASE` to a path of its own."
        )
    if version and application != APPLICATION_ID:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def check_for_damage(path: str, *, seconds: float) -> None:
    """Refuse a file that is damaged, such as a backup that was copied over a file whose `-wal` was left.

    A large file is checked as far as the time allows. Only read: closing any other connection could write what the
    `-wal` holds into the copy, which is sound by itself.

    Raises:
        BackendUnavailable: It is damaged.
    """
    if not os.path.exists(path):
        return
    wal = f"{path}-wal"
    wal_was_left = os.path.exists(wal) and os.path.getsize(wal) > 0
    try:
        found = _quick_check(path, seconds)
    except sqlite3.OperationalError:
        # Out of time; or it cannot be opened, which is found again and reported when it is opened to write.
        return
    except sqlite3.DatabaseError as exc:
        if exc.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            return
        found = str(exc)
    if found == "ok":
        return
    remedy = "Restore a backup."
    if wal_was_left:
        remedy = (
            "If a backup was copied over it, the copy itself is sound: stop all processes that use it, remove "
            f"{wal!r} and '{path}-shm', and start again."
        )
    raise BackendUnavailable(f"The database {path!r} is damaged: {found}. {remedy}")


def _quick_check(path: str, seconds: float) -> str:
    connection = sqlite3.connect(
        f"{Path(path).as_uri()}?mode=ro", uri=True, timeout=seconds, isolation_level=None, check_same_thread=False
    )
    # Not a progress handler: SQLite before 3.44 calls none within the check.
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    finally:
        timer.cancel()
        timer.join()
        connection.close()
    return " ".join(str(found).split())
