"""Checks whether the open files are still the ones at their paths, with the content that they had.

Except on Windows, a file that was removed or replaced still accepts writes, which are lost.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.sqlite.lineage import Commit, read_file
from starlette_webhooks.stores.sqlite.opening import connect_to_read

__all__ = ["Presence"]


class Presence:
    """The database file with its `-wal` and `-shm`, as they were when this object was created.

    Args:
        commit: The last commit, or an earlier one of the same database.

    Attributes:
        lost: Whether one of them was missing or overwritten at the last check.
        overwritten: Whether the file was overwritten.
    """

    def __init__(self, path: str, commit: Commit) -> None:
        self._path = path
        self._files = [(name, _identity(_stat(name))) for name in (path, f"{path}-wal", f"{path}-shm")]
        self._commit = Commit(commit.database, 0)
        self._state: tuple[int, int] | None = None
        self.lost = self.overwritten = False

    def check(self) -> None:
        """Check all files again. Raises `BackendUnavailable` if one is missing, or the database was overwritten."""
        for name, identity in self._files:
            found = _stat(name)
            if found is None or _identity(found) != identity:
                self.lost = True
                raise BackendUnavailable(
                    f"The file {name!r} was removed or replaced while the database {self._path!r} was in use. Nothing "
                    "is stored until this process is restarted."
                )
            if name == self._path:
                self._check_content(found)
        self.lost = False

    def check_content(self) -> None:
        """Check only whether the database was overwritten, which takes one system call.

        Called before each commit, whose checkpoint would damage a backup that replaced the file.
        """
        found = _stat(self._path)
        if found is not None:
            self._check_content(found)

    def _check_content(self, found: os.stat_result) -> None:
        # Written by checkpoints alone, so it rarely differs.
        state = found.st_ctime_ns, found.st_size
        if state != self._state:
            # It cannot be read during a checkpoint, or after an interrupted one.
            with suppress(sqlite3.Error):
                self._compare(read_file(self._path))
                self._state = state
        if self.overwritten:
            self.lost = True
            raise BackendUnavailable(
                f"The file {self._path!r} was overwritten, for example by a backup, while it was in use. Nothing is "
                f"stored any more. Stop all processes that use it, remove '{self._path}-wal' and '{self._path}-shm', "
                "and start again."
            )

    @contextmanager
    def closing(self) -> Generator[None]:
        """Close the other connections in the block. If the database was overwritten, no checkpoint is made."""
        with suppress(BackendUnavailable):
            self.check_content()
        if not self.overwritten:
            yield
            return
        # Only the last connection makes one, and this one cannot.
        last = connect_to_read(self._path, busy_seconds=1)
        try:
            with suppress(sqlite3.Error):
                last.execute("PRAGMA schema_version").fetchone()
            yield
        finally:
            last.close()

    def _compare(self, found: Commit | None) -> None:
        commit = found or Commit(self._commit.database, 0)
        self.overwritten = commit.database != self._commit.database or commit.number < self._commit.number
        if not self.overwritten:
            self._commit = commit


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _identity(found: os.stat_result | None) -> tuple[int, int] | None:
    return None if found is None else (found.st_dev, found.st_ino)
