"""Which of several processes relays: the one that holds a file lock, which the system frees when its holder dies."""

from __future__ import annotations

import os

from anyio import to_thread

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.relay.clock import TimeSource

try:
    import fcntl
except ImportError:  # Windows has no flock: there one process may use a file.
    fcntl = None  # type: ignore[assignment]

__all__ = ["RelayLock"]

_POLL = 0.2


class RelayLock:
    """A lock on `<database>.relay.lock`; None stands for a database that no other process can use."""

    def __init__(self, database: str | None, time: TimeSource) -> None:
        self.path = None if database is None or fcntl is None else f"{database}.relay.lock"
        self._time = time
        self._file: int | None = None
        self.held = False

    async def acquire(self) -> None:
        """Wait until this process holds the lock; it is tried five times a second."""
        if self.path is not None and self._file is None:
            self._file = await to_thread.run_sync(self._open, self.path)
        while not self._try():
            await self._time.sleep(_POLL)
        self.held = True

    def _open(self, path: str) -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise BackendUnavailable(
                f"The lock file {path!r} cannot be opened: {exc.strerror}. Let the process write beside its database."
            ) from exc

    def _try(self) -> bool:
        if self._file is None:
            return True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let another process relay."""
        self.held = False
        if self._file is not None:
            os.close(self._file)
            self._file = None
