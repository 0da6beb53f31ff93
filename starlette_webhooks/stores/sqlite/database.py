"""A SQLite file, with one connection that writes in group commits, and a few that read.

Writes that arrive during a commit form the next one: one transaction, one fsync. Each process has one connection that
writes, and holds a file lock from BEGIN to COMMIT. Processes therefore take turns without SQLite's unfair busy waiting.
This also avoids the WAL-reset bug of SQLite before 3.51.3, where two connections checkpoint and write at the same time
(https://sqlite.org/wal.html).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio import to_thread

from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.database_url import MEMORY
from starlette_webhooks.exceptions import BackendError, BackendRefused, BackendUnavailable, NotRunning
from starlette_webhooks.file_locks import FileLock
from starlette_webhooks.forks import call_in_children
from starlette_webhooks.problems import Problem
from starlette_webhooks.stores.migrations import Migration
from starlette_webhooks.stores.sqlite.lineage import begin_counting, check_wal
from starlette_webhooks.stores.sqlite.meta import check_meta
from starlette_webhooks.stores.sqlite.migrations import check, migrate
from starlette_webhooks.stores.sqlite.opening import (
    check_for_damage,
    connect,
    empty_wal,
    find_writer,
    open_database,
)
from starlette_webhooks.stores.sqlite.presence import Presence
from starlette_webhooks.stores.sqlite.readers import Readers
from starlette_webhooks.stores.sqlite.transactions import (
    change_nothing,
    concerns_database,
    rewrite_header,
    write_together,
)
from starlette_webhooks.stores.writer import Writer
from starlette_webhooks.stores.writes import Batch, Submitted, SupportsEvents, Write

__all__ = ["Database", "Write"]


T = TypeVar("T")
Connection = sqlite3.Connection

_BATCH_WRITES = 2000
# After the lock was not free in time, later writes fail soon, because they would queue behind it.
_SHORT_WAIT = 0.25


class Database:
    """A SQLite file shared by tasks, threads and processes. `:memory:` is private to this process.

    Args:
        path: The path of the file. `-wal`, `-shm` and `-lock` beside it belong to it.
        max_writes: The maximum of waiting writes.
        max_bytes: The maximum of the sum of their sizes.
        lock_seconds: How long to wait for another process of this library that writes.
        busy_seconds: How long to wait for another program that holds SQLite's own lock.
        check_seconds: How long to check for damage when the file is opened.
        watch_every: Seconds between two checks whether the file still exists and, after a problem, is usable again.
        migrates: Whether the schema is migrated at startup.
        migrations: Those of the package by default.
        environment: The environment of this process; see `check_environment`.
    """

    def __init__(
        self,
        path: str,
        *,
        max_writes: int = 10_000,
        max_bytes: int = 67_108_864,
        lock_seconds: float = 5.0,
        busy_seconds: float = 2.0,
        check_seconds: float = 1.0,
        watch_every: float = 1.0,
        migrates: bool = True,
        migrations: Sequence[Migration] | None = None,
        environment: str | None = None,
    ) -> None:
        self.path = path
        self._lock_seconds = lock_seconds
        self._busy_seconds = busy_seconds
        self._check_seconds = check_seconds
        self._watch_every = watch_every
        # In memory, no other process does it.
        self._migrates = migrates or path == MEMORY
        self._migrations = migrations
        self._environment = environment
        self._writer = Writer(self._commit, max_writes=max_writes, max_bytes=max_bytes)
        self.on_commit = self._writer.on_commit
        self._problem = Problem(f"The database {path!r} can be written again.")
        self._connection: Connection | None = None
        self._memory_lock = threading.RLock()
        self._readers = Readers(self._open_reader)
        self._inherited: list[Connection | None] = []
        self._lock: FileLock | None = None
        self._presence: Presence | None = None
        self._committing_since: float | None = None
        self._scrub_due = self._scrub_now = False
        call_in_children(self)

    @property
    def problem(self) -> str | None:
        """Why the database cannot be written, or None."""
        since = self._committing_since
        if since is not None and (elapsed := time.monotonic() - since) > self._lock_seconds + self._busy_seconds:
            return f"A commit to the database {self.path!r} has taken {elapsed:.0f} s so far."
        return self._problem.text

    # Lifespan

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Open the file, migrate its schema, and commit what is submitted until the block ends.

        Raises:
            BackendUnavailable: The file cannot be opened.
        """
        self._readers.start()
        await to_thread.run_sync(self._open)
        try:
            self._writer.start()
        except BaseException:  # pragma: no cover  The system must refuse one more thread.
            self._close()
            raise
        try:
            async with running_beside(*([] if self.path == MEMORY else [self._watch])):
                yield
        finally:
            # Shielded: submitted writes must be committed, and callers must not wait forever.
            with anyio.CancelScope(shield=True):
                # Closed on the writer's thread, because the system may have no other.
                await self._writer.stop(self._close)

    def _open(self) -> None:
        # Resolved once, so that a change of directory or a symbolic link does not lead to another file or lock.
        location = self._location = self.path if self.path == MEMORY else os.path.realpath(self.path)
        remedy = "Set `WEBHOOKS_DATABASE` to a path in an existing directory that this process may write to."
        try:
            if location != MEMORY:
                self._lock = FileLock(f"{location}-lock")
                self._lock.open()
                with self._exclusive(self._lock_seconds):
                    check_wal(location)
                check_for_damage(location, seconds=self._check_seconds)
            with self._exclusive(self._lock_seconds):
                connection = self._connection = open_database(location, busy_seconds=self._busy_seconds)
                (migrate if self._migrates else check)(connection, self.path, self._migrations)
                check_meta(connection, self.path, self._environment)
                if location != MEMORY:
                    self._presence = Presence(location, begin_counting(connection))
                    self._check_files()
        except BaseException as exc:
            self._close()
            if isinstance(exc, OSError):
                raise BackendUnavailable(f"{self._cannot('opened', exc.strerror or str(exc))} {remedy}") from exc
            if isinstance(exc, sqlite3.Error):
                raise BackendUnavailable(f"{self._cannot('opened', str(exc))} {remedy}") from exc
            raise
        self._problem.text = None

    def _cannot(self, verb: str, why: str) -> str:
        return f"The database {self.path!r} cannot be {verb}: {why.rstrip('.')}."

    def _close(self) -> None:
        for reader in self._readers.take():
            reader.close()
        if self._connection is not None:
            # The last connection to close makes a checkpoint, during which no other process may write. If another
            # process holds the lock for too long, it has the file open, so this is not the last connection.
            closing = nullcontext() if self._presence is None else self._presence.closing()
            with suppress(BackendUnavailable), self._exclusive(self._patience), closing:
                self._connection.close()
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._presence = None

    def after_fork(self) -> None:
        """Reset the state in a forked child, which may open the file itself."""
        self._writer.after_fork()
        self._memory_lock = threading.RLock()
        # Neither used nor closed: https://sqlite.org/howtocorrupt.html, section 2.6.
        self._inherited += [self._connection, *self._readers.take()]
        self._connection = None
        self._lock = self._presence = self._committing_since = None

    @contextmanager
    def _exclusive(self, seconds: float) -> Generator[None]:
        lock = self._lock
        if lock is None:
            with self._memory_lock:
                yield
            return
        if not lock.acquire(seconds):
            raise BackendUnavailable(self._cannot("used", self._blocked_by(lock.holder())))
        try:
            yield
        finally:
            lock.release()

    def _blocked_by(self, holder: str) -> str:
        writer = find_writer(self._location)
        if writer is not None and writer != holder:
            # The holder is one of our processes, which waits for another program with our lock in its hands.
            return f"{writer} has locked it for writing, and {holder} waits for it"
        return f"{holder} has held its lock for more than {self._lock_seconds:g} s"

    @property
    def _patience(self) -> float:
        return self._lock_seconds if self._problem.text is None else min(_SHORT_WAIT, self._lock_seconds)

    async def _watch(self) -> None:
        while True:
            await anyio.sleep(self._watch_every)
            with suppress(BackendUnavailable):
                await self._readers.run(self._check_presence)
            if self._scrub_due:
                self._scrub_now = True
                with suppress(BackendUnavailable):
                    await self.write(change_nothing)
            if self._problem.text is not None:
                # Detects that the database can be written again, even if nobody writes.
                with suppress(BackendUnavailable):
                    await self.write(rewrite_header)

    def _check_presence(self) -> None:
        try:
            self._check_files()
        except BackendUnavailable as exc:
            self._problem.begin(str(exc))

    def _check_files(self) -> None:
        if self._presence is not None:
            self._presence.check()

    # Writing

    def submit(self, fn: Callable[[Connection], T], *, size: int = 0, bounded: bool = True) -> Write[T]:
        """Run a function in the next transaction, on another thread. Thread-safe, and never blocks.

        The function receives a connection in an open transaction, and may run again if another write of the same
        transaction failed. Its only effects must be on the connection. A `Joint` runs together with its neighbours,
        unless something fails.

        Args:
            size: Bytes that it occupies while it waits.
            bounded: False to accept it even if too many wait.

        Raises:
            NotRunning: Outside `lifespan`.
            QueueFull: Too many writes or bytes wait.
        """
        return self._writer.submit(Write, fn, size, bounded)

    def store(self, fn: Callable[[Connection], SupportsEvents], size: int) -> Submitted:
        """Submit a function that stores events. See `submit`."""
        return self._writer.submit(Submitted, fn, size, True)

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Run a function in the next transaction and wait for the commit. See `submit`.

        It is accepted however many writes wait, because the caller waits for it before it submits another. Deliveries
        are therefore still recorded while events fill the queue.
        """
        return await self.submit(fn, bounded=False).wait()

    @property
    def on_loop(self) -> bool:
        """Return whether the caller is on the thread of the database's event loop."""
        return self._writer.on_loop

    def call_soon(self, fn: Callable[[], None]) -> None:
        """Call a function on the event loop, from any thread. On the loop's own thread, it is called directly."""
        self._writer.call_soon(fn)

    def _commit(self, batch: Batch) -> None:
        writes = batch.writes
        for start in range(0, len(writes), _BATCH_WRITES):
            self._committing_since = time.monotonic()
            try:
                self._commit_together(writes[start : start + _BATCH_WRITES])
            finally:
                self._committing_since = None

    def _commit_together(self, writes: Sequence[Write[Any]]) -> None:
        connection = self._connection
        assert connection is not None
        try:
            with self._exclusive(self._patience):
                if self._presence is not None:
                    self._presence.check_content()
                write_together(connection, writes)
                self._scrub(connection)
            # After the commit, so that what is answered from now on is in the file at the path.
            self._check_files()
        except Exception as exc:
            # One error for all of them, because there may be thousands.
            error = self._unavailable("written", exc) if concerns_database(exc) else exc
            for write in writes:
                write.error = write.error or error
        failed = [write for write in writes if write.error is not None]
        wrong = next((write.error for write in failed if concerns_database(write.error)), None)
        if wrong is None:
            self._problem.end()
        else:
            self._problem.begin(str(self._unavailable("written", wrong)))
        for write in failed:
            if isinstance(write.error, sqlite3.Error):
                write.error = self._as_backend_error(write.error)

    def scrub_soon(self) -> None:
        """Have the `-wal` emptied within seconds: it may hold pages from before something secret was removed.

        Not immediately, because customers determine how often this happens.
        """
        self._scrub_due = self.path != MEMORY

    def _scrub(self, connection: Connection) -> None:
        if self._scrub_now:
            self._scrub_now = self._scrub_due = False
            # If a reader is in the way, with the next check.
            self._scrub_due = not empty_wal(connection, busy_seconds=self._busy_seconds)

    def _as_backend_error(self, error: sqlite3.Error) -> BackendError:
        if concerns_database(error):
            return self._unavailable("written", error)
        # The data is at fault, so that another try would fail again.
        refused = BackendRefused(f"The database {self.path!r} refused what was written: {error}.")
        refused.__cause__ = error
        return refused

    def _unavailable(self, verb: str, error: Exception) -> BackendUnavailable:
        if isinstance(error, BackendUnavailable):
            return error
        why = str(error)
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY and (writer := find_writer(self._location)):
            why += f" by {writer}"
        unavailable = BackendUnavailable(self._cannot(verb, why))
        unavailable.__cause__ = error
        return unavailable

    # Reading

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run a function on a snapshot, on another thread. The snapshot ends with the function.

        Raises:
            NotRunning: Outside `lifespan`.
            BackendUnavailable: The database cannot be read.
        """
        if self._connection is None:
            raise NotRunning
        try:
            return await self._readers.run(partial(self._read, fn))
        except sqlite3.Error as exc:
            raise self._unavailable("read", exc) from exc

    def _read(self, fn: Callable[[Connection], T]) -> T:
        if self.path == MEMORY:
            with self._memory_lock:
                assert self._connection is not None
                return fn(self._connection)
        if self._presence is not None and self._presence.lost:
            self._check_files()
        return self._readers.read(fn)

    def _open_reader(self) -> Connection:
        connection = connect(self._location, busy_seconds=self._busy_seconds)
        try:
            # The path might lead to another file by now.
            self._check_files()
        except BaseException:
            connection.close()
            raise
        return connection

    def watcher(self) -> Connection:
        """Return a connection for `PRAGMA data_version` only, which is fast enough for the event loop (3 µs)."""
        return connect(self._location, busy_seconds=self._busy_seconds)
