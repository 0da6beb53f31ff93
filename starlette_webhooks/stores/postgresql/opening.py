"""Opens connections, for which a caller waits only until its deadline."""

from __future__ import annotations

import threading
import time
from typing import Any

from psycopg import Connection

from starlette_webhooks.stores.postgresql.conninfo import ConnectionInfo

__all__ = ["OpenConnection", "Opening", "Row"]

Row = tuple[Any, ...]

_LIMIT_SECONDS = 5.0
# A pooler answers with a number of its own, and its sessions are not ours to change. A limit of the role's is kept.
_LIMIT = """
SELECT set_config('statement_timeout', %s, false)
WHERE pg_backend_pid() = %s AND current_setting('statement_timeout') = '0'
"""


class OpenConnection(Connection[Row]):
    """A connection whose calls end at a deadline."""

    deadline: float

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        # All waiting for the server passes through here.
        return super().wait(gen, interval, max(self.deadline - time.monotonic(), 0.001))


class Opening:
    """A connection that is being opened on its own thread.

    Looking up names has no deadline, and each of several hosts has its own timeout. A caller that gives up leaves this
    to the next one, so that the last host is tried even if each caller has little time.
    """

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._mutex = threading.Lock()
        self._done = threading.Event()
        self._dropped = False
        self._connection: OpenConnection | None = None
        self._error: Exception | None = None
        threading.Thread(target=self._run, name="starlette_webhooks-connect", daemon=True).start()

    def _run(self) -> None:
        connection = None
        try:
            # Prepared statements would stay on a connection of the pooler.
            connection = OpenConnection.connect(self._info.conninfo, autocommit=True, prepare_threshold=None)
            self._limit_statements(connection)
        except Exception as exc:
            self._error = exc
        with self._mutex:
            if connection is not None and (self._dropped or self._error is not None):
                connection.close()
            self._connection = connection
        self._done.set()

    def _limit_statements(self, connection: OpenConnection) -> None:
        connection.deadline = time.monotonic() + _LIMIT_SECONDS
        if self._info.statement_timeout:
            limit = f"{self._info.statement_timeout * 1000:.0f}ms"
            connection.execute(_LIMIT, (limit, connection.info.backend_pid))

    def wait(self, deadline: float) -> OpenConnection | None:
        """Return the connection, or None if it is not open by then (`time.monotonic()`).

        Raises:
            psycopg.Error: The connection could not be opened.
        """
        if not self._done.wait(max(deadline - time.monotonic(), 0)):
            return None
        if self._error is not None:
            raise self._error
        return self._connection

    def drop(self) -> None:
        """Close the connection as soon as it is open."""
        with self._mutex:
            self._dropped = True
            if self._connection is not None:  # pragma: no cover  It must open at the same moment.
                self._connection.close()
