"""The connections that read a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter

from starlette_webhooks.concurrency import run_in_thread

__all__ = ["Readers"]

T = TypeVar("T")

_READERS = 4
# The cache of each. A larger one makes no difference, since the system caches the file too.
_CACHE_KIB = 4096


class Readers:
    """Connections that are opened when they are needed, and kept.

    Args:
        connect: Opens a connection.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._idle: list[sqlite3.Connection] = []

    def start(self) -> None:
        """Belong to the running event loop from now on."""
        self._limiter = CapacityLimiter(_READERS)

    async def run(self, fn: Callable[[], T]) -> T:
        """Run a function that reads, on another thread. A few at a time."""
        return await run_in_thread(fn, limiter=self._limiter)

    def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function on a snapshot. The snapshot ends with the function."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open()
        try:
            connection.execute("BEGIN")
            return fn(connection)
        finally:
            # Some errors have already ended the transaction.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._idle.append(connection)

    def _open(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            connection.execute("PRAGMA query_only = 1")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        except BaseException:  # pragma: no cover  A pragma must fail.
            connection.close()
            raise
        return connection

    def take(self) -> list[sqlite3.Connection]:
        """Remove and return all connections."""
        taken, self._idle = self._idle, []
        return taken
