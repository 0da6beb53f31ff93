"""Backs up a SQLite file while it is in use, and restores it while it is not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TypeAlias

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.sqlite.exclusive import opened_alone
from starlette_webhooks.stores.sqlite.migrations import check
from starlette_webhooks.stores.sqlite.opening import check_for_damage, check_ownership, connect_to_read

__all__ = ["Copied", "back_up", "restore"]

_PAGES = 2000
_SECONDS = 5.0
_CHECK_SECONDS = 600.0

Copied: TypeAlias = Callable[[str, int, int], None]
"""Called with what is copied, how many of its pages were copied, and how many there are."""


def back_up(path: str, copy: str, copied: Copied) -> int:
    """Copy a file that may be in use. Returns the size of the copy, which only its owner can read.

    The copy is the state of one moment. It appears under its name once it is complete and checked.

    Raises:
        BackendUnavailable: The copy exists already, or cannot be made.
    """
    if os.path.exists(copy):
        raise BackendUnavailable(f"The file {copy!r} exists. Choose another name, or remove it.")
    partial = f"{os.path.abspath(copy)}.partial"
    try:
        _create(partial)
        with closing(connect_to_read(os.path.realpath(path), busy_seconds=_SECONDS)) as source:
            check_ownership_of(source, path)
            # Without a transaction, each commit of the app would make the copy start again.
            source.execute("BEGIN")
            source.execute("SELECT 1 FROM sqlite_master").fetchone()
            with closing(sqlite3.connect(partial, isolation_level=None)) as target:
                source.backup(target, pages=_PAGES, progress=_progress(copied, "Copying"))
                # A file by itself, without `-wal`.
                target.execute("PRAGMA journal_mode = DELETE")
        check_for_damage(partial, seconds=_CHECK_SECONDS)
        _sync(partial)
        os.replace(partial, copy)
        _sync(os.path.dirname(os.path.abspath(copy)))
    except OSError as exc:
        raise BackendUnavailable(f"The copy {copy!r} cannot be made: {exc.strerror or exc}.") from exc
    except sqlite3.Error as exc:
        raise BackendUnavailable(f"The copy {copy!r} cannot be made: {exc}.") from exc
    finally:
        for rest in (partial, f"{partial}-journal", f"{partial}-wal", f"{partial}-shm"):
            with suppress(OSError):
                os.remove(rest)
    return os.path.getsize(copy)


def restore(copy: str, path: str, copied: Copied) -> None:
    """Put the contents of a copy into a file that no process has open. Either all of it is restored or nothing.

    Raises:
        BackendUnavailable: The copy is damaged, or of a newer version of the package, or a process has the file open.
    """
    check_for_damage(os.path.realpath(copy), seconds=_CHECK_SECONDS)
    remedy = f"Move it away, and {f'{path}-wal'!r} and {f'{path}-shm'!r} if they exist. Then restore again."
    try:
        with closing(connect_to_read(os.path.realpath(copy), busy_seconds=_SECONDS)) as source:
            check_ownership_of(source, copy)
            if not os.path.exists(path):
                _create(path)
            with opened_alone(path, remedy=remedy) as target:
                # One transaction of the target, so that an interruption leaves it as it was.
                source.backup(target, pages=-1, progress=_progress(copied, "Restoring"))
    except OSError as exc:
        raise BackendUnavailable(f"The database {path!r} cannot be restored: {exc.strerror or exc}.") from exc
    except sqlite3.Error as exc:
        raise BackendUnavailable(f"The database {path!r} cannot be restored: {exc}.") from exc


def check_ownership_of(connection: sqlite3.Connection, path: str) -> None:
    """Refuse a file that is empty, of another application, or of another version of the package.

    Raises:
        BackendUnavailable: It is refused.
    """
    check_ownership(connection, path)
    check(connection, path)


def _create(path: str) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _progress(copied: Copied, what: str) -> Callable[[int, int, int], None]:
    return lambda status, remaining, total: copied(what, total - remaining, total)
