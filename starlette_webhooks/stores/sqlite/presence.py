"""Checks whether the open files are still the ones at their paths.

Except on Windows, a file that was removed or replaced still accepts writes, which are lost.
"""

from __future__ import annotations

import os

from starlette_webhooks.exceptions import BackendUnavailable

__all__ = ["Presence"]


class Presence:
    """The database file with its `-wal` and `-shm`, as they were when this object was created.

    Attributes:
        lost: Whether one of them was missing at the last check.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._files = [(name, _identity(name)) for name in (path, f"{path}-wal", f"{path}-shm")]
        self.lost = False

    def check(self) -> None:
        """Check again, which takes about 5 µs. Raises `BackendUnavailable` if a file is missing."""
        for name, identity in self._files:
            if _identity(name) != identity:
                self.lost = True
                raise BackendUnavailable(
                    f"The file {name!r} was removed or replaced while the database {self._path!r} was in use. Nothing "
                    "is stored until this process is restarted."
                )
        self.lost = False


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
