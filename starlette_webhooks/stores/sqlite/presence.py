"""Whether the files that are open are still the ones that lie at their paths.

A file that was removed or replaced goes on taking writes, on every system but Windows, and nobody finds them later.
"""

from __future__ import annotations

import os

from starlette_webhooks.exceptions import BackendUnavailable

__all__ = ["Presence"]


class Presence:
    """The database file with its `-wal` and `-shm`, as they were when this was made.

    Attributes:
        lost: Whether one of them was gone at the last look.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._files = [(name, _identity(name)) for name in (path, f"{path}-wal", f"{path}-shm")]
        self.lost = False

    def check(self) -> None:
        """Look again, which takes about 5 µs. Raises `BackendUnavailable` if one of them is gone."""
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
