"""One SQLite file: a connection that writes, in group commits, and a few that read.

Writes of all callers that come while a commit runs make up the next one: one transaction, one fsync. Each process has
one connection that writes, and a file lock is held from BEGIN to COMMIT; so processes take turns without SQLite's
unfair busy waiting, and the WAL-reset bug of SQLite before 3.51.3 (two connections that checkpoint and write at once,
https://sqlite.org/wal.html) has no room.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import groupby
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from starlette_webhooks.exceptions import BackendUnavailable, NotRunning
from starlette_webhooks.stores.sqlite.joint import Joint
from starlette_webhooks.stores.sqlite.queries import read_sql
from starlette_webhooks.stores.writer import Writer
from starlette_webhooks.stores.writes import Batch, Submitted, SupportsEvents, Write

try:
    import fcntl
except ImportError:  # Windows has no flock: there one process may use a file.
    fcntl = None  # type: ignore[assignment]

__all__ = ["Database", "Write"]

logger = logging.getLogger("starlette_webhooks")

T = TypeVar("T")
Connection = sqlite3.Connection

MEMORY = ":memory:"
SCHEMA_VERSION = 1
_READERS = 4
_BATCH_WRITES = 2000


class Database:
    """A SQLite file shared by tasks, threads and processes; `:memory:` keeps it in this process.

    Args:
        path: Where the file is. Beside it lie `-wal`, `-shm` and `-lock`, which belong to it.
        max_writes: Writes that may wait for their turn.
        max_bytes: Sum of the sizes they were submitted with.
    """

    def __init__(self, path: str, *, max_writes: int = 10_000, max_bytes: int = 67_108_864) -> None:
        self.path = path
        self._writer = Writer(self._commit, max_writes=max_writes, max_bytes=max_bytes)
        self.on_commit = self._writer.on_commit
        self._connection: Connection | None = None
        self._memory_lock = threading.RLock()
        self._readers: list[Connection] = []
        self._lock_file: int | None = None

    # Lifespan

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open the file, bring its schema up to date, and commit what is submitted until the block ends."""
        self._reading = CapacityLimiter(_READERS)
        await to_thread.run_sync(self._open_file)
        try:
            self._writer.start()
            try:
                yield
            finally:
                # Shielded: what was submitted must be committed, and who waits must not wait for ever.
                with anyio.CancelScope(shield=True):
                    await self._writer.stop()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._close_file)

    def _open_file(self) -> None:
        if self.path != MEMORY and fcntl is not None:
            try:
                self._lock_file = os.open(f"{self.path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as exc:
                raise BackendUnavailable(
                    f"The database {self.path!r} cannot be opened: {exc.strerror}. Set `WEBHOOKS_DATABASE` to a path "
                    "in an existing directory that the process may write to."
                ) from exc
        try:
            with self._exclusive():
                self._connection = self._connect()
                if self.path != MEMORY:
                    self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._migrate(self._connection)
        except sqlite3.Error as exc:
            self._close_file()
            raise BackendUnavailable(
                f"The database {self.path!r} cannot be opened: {exc}. Set `WEBHOOKS_DATABASE` to the path of a file "
                "that this process may write."
            ) from exc
        except BaseException:
            self._close_file()
            raise

    def _connect(self) -> Connection:
        connection = sqlite3.connect(
            self.path, timeout=30, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute("PRAGMA cache_size = -32768")
        # Else a statement that inserts several rows may make a file, for what it would undo.
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    def _migrate(self, connection: Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise BackendUnavailable(
                f"The database {self.path!r} was made by a newer version of starlette_webhooks (schema {version}, this "
                f"one knows {SCHEMA_VERSION}). Upgrade the package."
            )
        if version == SCHEMA_VERSION:
            return
        if version == 0:
            script = read_sql("schema.sql")
        else:
            script = "\n".join(read_sql(f"migrations/{n:04}.sql") for n in range(version + 1, SCHEMA_VERSION + 1))
        # Not `executescript` alone: it would commit a transaction that is open, and a crash could leave half a schema.
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {SCHEMA_VERSION};\nCOMMIT;")

    def _close_file(self) -> None:
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        if self._connection is not None:
            # The last connection to close checkpoints, which must not meet another process's write.
            with self._exclusive():
                self._connection.close()
            self._connection = None
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    @contextmanager
    def _exclusive(self) -> Generator[None]:
        if self._lock_file is None:
            with self._memory_lock:
                yield
            return
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    # Writing

    def submit(self, fn: Callable[[Connection], T], *, size: int = 0, bounded: bool = True) -> Write[T]:
        """Run a function in the next transaction, on another thread. Thread-safe; never blocks.

        The function gets a connection with a transaction open, and may run again where another write of the same
        transaction failed: its only effects must be those on the connection. A `Joint` runs together with its
        neighbours, unless something fails.

        Args:
            size: Bytes that it holds while it waits.
            bounded: False to take it even where too many wait.

        Raises:
            NotRunning: Outside `lifespan`.
            QueueFull: Too many writes, or too many bytes, wait.
        """
        return self._writer.submit(Write, fn, size, bounded)

    def store(self, fn: Callable[[Connection], SupportsEvents], size: int) -> Submitted:
        """Submit a function that stores events. See `submit`."""
        return self._writer.submit(Submitted, fn, size, True)

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Run a function in the next transaction and wait for the commit. See `submit`.

        It is taken however many writes wait, as who waits for it submits no other: deliveries go on being recorded
        while events fill the queue.
        """
        return await self.submit(fn, bounded=False).wait()

    @property
    def on_loop(self) -> bool:
        """Whether the caller is on the thread of the event loop that it runs on."""
        return self._writer.on_loop

    def call_soon(self, fn: Callable[[], None]) -> None:
        """Call a function on the event loop, from any thread: at once where this is the loop's own."""
        self._writer.call_soon(fn)

    def _commit(self, batch: Batch) -> None:
        writes = batch.writes
        for start in range(0, len(writes), _BATCH_WRITES):
            self._commit_together(writes[start : start + _BATCH_WRITES])

    def _commit_together(self, writes: Sequence[Write[Any]]) -> None:
        connection = self._connection
        assert connection is not None
        try:
            with self._exclusive():
                try:
                    self._transaction(connection, writes, apart=False)
                except Exception as exc:
                    if len(writes) == 1:
                        writes[0].error = exc
                    else:
                        # One of them is at fault: again, each in a savepoint, so that it fails alone.
                        self._transaction(connection, writes, apart=True)
        except Exception as exc:
            for write in writes:
                write.error = write.error or exc
        error = next((write.error for write in writes if isinstance(write.error, sqlite3.Error)), None)
        if error is not None:
            logger.error("The database %r cannot be written: %s.", self.path, error)
        for write in writes:
            if isinstance(write.error, sqlite3.Error):
                write.error = _unavailable(write.error)

    def _transaction(self, connection: Connection, writes: Sequence[Write[Any]], *, apart: bool) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if apart:
                for write in writes:
                    self._run_apart(connection, write)
            else:
                _run_together(connection, writes)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _run_apart(self, connection: Connection, write: Write[Any]) -> None:
        connection.execute("SAVEPOINT one")
        try:
            write.result = write.operation(connection)
        except Exception as exc:
            if not connection.in_transaction:  # A full disk rolls the whole transaction back.
                raise
            write.error = exc
            connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")

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
            return await to_thread.run_sync(self._read, fn, limiter=self._reading)
        except sqlite3.Error as exc:
            raise BackendUnavailable(f"The database cannot be read: {exc}.") from exc

    def _read(self, fn: Callable[[Connection], T]) -> T:
        if self.path == MEMORY:
            with self._memory_lock:
                assert self._connection is not None
                return fn(self._connection)
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._connect()
            connection.execute("PRAGMA query_only = 1")
        try:
            connection.execute("BEGIN")
            return fn(connection)
        finally:
            connection.execute("ROLLBACK")
            self._readers.append(connection)

    def watcher(self) -> Connection:
        """A connection for `PRAGMA data_version` alone, which is quick enough for the event loop (3 µs)."""
        return self._connect()


def _unavailable(error: sqlite3.Error) -> BackendUnavailable:
    unavailable = BackendUnavailable(f"The database cannot be written: {error}.")
    unavailable.__cause__ = error
    return unavailable


def _run_together(connection: Connection, writes: Sequence[Write[Any]]) -> None:
    for kind, group in groupby(writes, key=_joint):
        if kind is None:
            for write in group:
                write.result = write.operation(connection)
        else:
            neighbours = list(group)
            operations: list[Any] = [write.operation for write in neighbours]
            results = kind.run_together(connection, operations)
            for write, result in zip(neighbours, results, strict=True):
                write.result = result


def _joint(write: Write[Any]) -> type[Joint[Any]] | None:
    operation = write.operation
    return type(operation) if isinstance(operation, Joint) and operation.joins else None
