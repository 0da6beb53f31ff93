"""Locks between processes, on files. The system frees a lock when its holder dies."""

from __future__ import annotations

import logging
import os
import time

from starlette_webhooks.forks import call_in_children
from starlette_webhooks.problems import Problem

try:
    import fcntl
except ImportError:  # Windows has no flock: one process may use a file there.
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileLock"]

_SHORTEST_PAUSE = 0.0001
_LONGEST_PAUSE = 0.01
_SAY_AFTER = 2.0


class FileLock:
    """An exclusive lock on a file of its own, not inherited by forked children.

    Not for threads of one process: they share the lock.

    Args:
        say_after: Seconds of waiting after which the log says what is waited for.
    """

    def __init__(self, path: str, *, say_after: float = _SAY_AFTER) -> None:
        self.path = path
        self._say_after = say_after
        self._problem = Problem(f"The lock {path!r} was released.", level=logging.WARNING)
        self._file: int | None = None
        call_in_children(self)

    def open(self) -> None:
        """Open the file, and create it if needed. Raises `OSError`."""
        if self._file is None:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Close the file, and with it release the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def after_fork(self) -> None:
        """Drop the child's copy. It would hold the lock of a parent that was killed, for as long as the child lives."""
        # Not unlocked: that would release the parent's lock.
        self.close()

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it."""
        if fcntl is None:
            return True
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def acquire(self, seconds: float) -> bool:
        """Wait for the lock; False if it was not free in time.

        By trying again and again: the system's own waiting has no deadline, and a stopped process can hold the lock for
        hours. The pauses are a share of the time waited so far. They are short at first, since a holder releases the
        lock after a millisecond or so and may be back in another.
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
        """Let another process take it."""
        if fcntl is not None:
            assert self._file is not None
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def holder(self) -> str:
        """Who holds it, such as `process 1234`, as far as the system tells."""
        try:
            inode = os.stat(self.path).st_ino
            with open("/proc/locks") as locks:
                # 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
                fields = [line.split() for line in locks if " FLOCK " in line and "->" not in line]
        except OSError:
            return "another process"
        pids = [field[4] for field in fields if field[5].rpartition(":")[2] == str(inode) and field[4] != "0"]
        return f"process {pids[0]}" if pids else "another process"
