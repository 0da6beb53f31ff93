"""`SQLiteSeenIds`: remembers webhooks in a file, for all processes of a machine."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

from anyio import to_thread

from starlette_webhooks.receiving.seen import SeenState
from starlette_webhooks.stores.sqlite.queries import load_queries

__all__ = ["SQLiteSeenIds"]

T = TypeVar("T")

_QUERIES = load_queries("seen.sql", "starlette_webhooks.receiving")


class SQLiteSeenIds:
    """Remembers ids in a table of a SQLite file, which it creates. It survives restarts, and processes may share it.

    Args:
        path: The file. It may be the database of your app.
        timeout: Seconds to wait while another process writes to the file.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 5.0) -> None:
        self._path = os.fspath(path)
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    async def begin(self, identifier: str, *, now: float, until: float) -> SeenState:
        """See `SeenIds.begin`."""

        def run(connection: sqlite3.Connection) -> SeenState:
            values = {"id": identifier, "now": now, "until": until}
            if connection.execute(_QUERIES["begin"], values).fetchall():
                connection.execute(_QUERIES["prune"], values)
                return SeenState.NEW
            row = connection.execute(_QUERIES["state"], {"id": identifier}).fetchone()
            # Without a row, another process has just failed to handle it, and the sender tries again.
            return SeenState.HANDLED if row is not None and row[0] else SeenState.RUNNING

        return await self._run(run)

    async def finish(self, identifier: str, *, until: float) -> None:
        """See `SeenIds.finish`."""
        await self._run(lambda connection: connection.execute(_QUERIES["finish"], {"id": identifier, "until": until}))

    async def forget(self, identifier: str) -> None:
        """See `SeenIds.forget`."""
        await self._run(lambda connection: connection.execute(_QUERIES["forget"], {"id": identifier}))

    async def aclose(self) -> None:
        """Close the file."""

        def close() -> None:
            with self._lock:
                connection, self._connection = self._connection, None
                if connection is not None:
                    connection.close()

        await to_thread.run_sync(close)

    async def _run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            with self._lock:
                if self._connection is None:
                    self._connection = self._open()
                return function(self._connection)

        return await to_thread.run_sync(run)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(_QUERIES["create"])
            connection.execute(_QUERIES["create_index"])
        except BaseException:
            connection.close()
            raise
        return connection
