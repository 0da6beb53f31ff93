"""File locks between processes. The system releases a lock when its holder dies."""

from __future__ import annotations

import logging
import os
import time

from starlette_webhooks.forks import call_in_children
from starlette_webhooks.problems import Problem

try:
    import fcntl
except ImportError:  # pragma: no cover  Windows has no flock, so only one process may use a file there.
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileLock", "find_holder"]

_SHORTEST_PAUSE = 0.0001
_LONGEST_PAUSE = 0.01
_SAY_AFTER = 2.0


class FileLock:
    """An exclusive lock on a separate file. Forked children do not inherit it.

    Threads of a process share the lock.

    Args:
        say_after: Seconds of waiting after which the lock is logged.
    """

    def __init__(self, path: str, *, say_after: float = _SAY_AFTER) -> None:
        self.path = path
        self._say_after = say_after
        self._problem = Problem(f"The lock {path!r} was released.", level=logging.WARNING)
        self._file: int | None = None
        call_in_children(self)

    def open(self) -> None:
        """Open the file, and create it if necessary. Raises `OSError`."""
        if self._file is None:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Close the file, which releases the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def after_fork(self) -> None:
        """Close the copy in a forked child, which would otherwise hold the lock even after its parent was killed."""
        # Not unlocked: that would release the parent's lock.
        self.close()

    def try_acquire(self) -> bool:
        """Acquire the lock if it is free, and return whether it was."""
        if fcntl is None:  # pragma: no cover  Windows has no flock.
            return True
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def acquire(self, seconds: float) -> bool:
        """Wait for the lock. Returns False if it was not free in time.

        Tries repeatedly, because the system's own waiting has no deadline, and a stopped process can hold the lock for
        hours. The pauses grow with the time waited so far. They are short at first, because a holder usually releases
        the lock after about a millisecond and may acquire it again a millisecond later.
        """
        started = time.monotonic()
        while not self.try_acquire():
            waited = time.monotonic() - started
            if waited >= seconds:
                return False
            if waited >= self._say_after and self._problem.text is None:
                self._problem.begin(f"Waiting for the lock {self.path!r}, which {self.holder()} holds.")
            time.sleep(min(max(_SHORTEST_PAUSE, waited / 100), _LONGEST_PAUSE))
        self._problem.end()
        return True

    def release(self) -> None:
        """Release the lock."""
        if fcntl is not None:  # pragma: no branch  Windows has no flock.
            assert self._file is not None
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def holder(self) -> str:
        """Return the holder of the lock, such as `process 1234`, if the system knows it."""
        return find_holder(self.path) or "another process"


def find_holder(path: str, kind: str = "FLOCK", first_byte: str = "0") -> str | None:
    """Return the process that holds a lock on a file, such as `process 1234`, if the system knows it.

    Args:
        kind: `FLOCK`, or `POSIX` for a lock on a range of bytes.
        first_byte: The beginning of that range.
    """
    try:
        inode = str(os.stat(path).st_ino)
        with open("/proc/locks") as locks:
            # 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
            fields = [line.split() for line in locks if f" {kind} " in line and "->" not in line]
    except OSError:
        return None
    for _, _, _, mode, pid, file, first, _ in fields:
        # The pid is 0 if the process is in another container.
        if mode == "WRITE" and pid != "0" and file.rpartition(":")[2] == inode and first == first_byte:
            return f"process {pid}"
    return None
