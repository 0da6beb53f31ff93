"""Decides by a file lock which of several processes relays."""

from __future__ import annotations

import logging
import os

import anyio
from anyio import to_thread

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.file_locks import FileLock
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.relay.clock import TimeSource

__all__ = ["RelayLock"]

logger = logging.getLogger("starlette_webhooks")

_POLL = 0.2
_SAY_AFTER = 5.0


class RelayLock:
    """A lock on `<database>.relay.lock`. None for a database that no other process can use."""

    def __init__(self, database: str | None, time: TimeSource) -> None:
        self._database = database
        self._time = time
        self._lock: FileLock | None = None
        self.held = False

    async def acquire(self) -> None:
        """Wait until this process holds the lock. It tries five times a second."""
        if self._database is not None:
            await self._wait(await to_thread.run_sync(self._open, self._database))
        self.held = True

    def _open(self, database: str) -> FileLock:
        # Resolved once, so that a change of directory does not lead to another file.
        lock = self._lock = self._lock or FileLock(f"{os.path.realpath(database)}.relay.lock")
        try:
            lock.open()
        except OSError as exc:
            raise BackendUnavailable(
                f"The lock file {lock.path!r} cannot be opened: {exc.strerror}. Let this process write beside its "
                "database."
            ) from exc
        return lock

    async def _wait(self, lock: FileLock) -> None:
        waited = 0.0
        while not lock.try_acquire():
            await self._time.sleep(_POLL)
            waited += _POLL
            if waited >= _SAY_AFTER > waited - _POLL:
                # This is normal, because only one process relays. If it hangs, the log names it.
                fields = log_fields("relay.waiting")
                logger.info("The relay waits for the lock %r, which %s holds.", lock.path, lock.holder(), extra=fields)

    async def keep(self) -> None:
        """See `Lock.keep`. The system keeps a file lock for as long as the process lives."""
        await anyio.sleep_forever()

    async def release(self) -> None:
        """Let another process relay."""
        self.held = False
        if self._lock is not None:
            self._lock.close()
