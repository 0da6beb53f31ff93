"""One connection that opens itself again after a fault, with a deadline for each call."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import Connection, errors

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.postgresql.conninfo import ConnectionInfo

__all__ = ["CallFailed", "CallLost", "Link", "Row", "explain"]

Row = tuple[Any, ...]

# SQLSTATEs after which the connection is of no use: the server is going down, out of memory or space, or has become a
# standby. Another connection may lead to another server.
_LEAVE = ("08", "25006", "53", "57P", "58", "XX")
_LOST = (psycopg.OperationalError, psycopg.InterfaceError)
_CANCEL_SECONDS = 1.0


class CallLost(BackendUnavailable):
    """Raised when the connection broke during a call, which the server may have completed or not."""

    message = "The connection broke during a call: the server may have completed it or not."


class _Connection(Connection[Row]):
    """A connection whose calls end at a deadline."""

    deadline: float

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        # All that waits for the server comes through here.
        return super().wait(gen, interval, max(self.deadline - time.monotonic(), 0.001))


class CallFailed(BackendUnavailable):
    """The server refused a statement, which did nothing. `sqlstate` says why."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class Link:
    """A connection that is opened by its first call, and again after a fault. For one thread at a time.

    Each call is one statement in autocommit, so that no lock or snapshot ever waits for this process, and a pooler in
    transaction mode may be in between. Nothing is prepared or set on the connection for that reason.
    """

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._connection: _Connection | None = None
        self._process = 0

    def call(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = (), *, deadline: float) -> list[Row]:
        """The rows of a statement.

        Args:
            deadline: When to give up, by `time.monotonic()`.

        Raises:
            CallLost: The connection broke after the statement was sent, or the deadline passed.
            CallFailed: The server refused the statement.
            BackendUnavailable: There is no connection.
        """
        connection = self.connect(deadline)
        try:
            with connection.cursor(binary=True) as cursor:
                cursor.execute(statement, values, prepare=False)
                return cursor.fetchall() if cursor.description else []
        except psycopg.Error as exc:
            raise self._failed(connection, exc) from exc
        except BaseException:
            self.close()
            raise

    def _failed(self, connection: _Connection, exc: psycopg.Error) -> BackendUnavailable:
        if isinstance(exc, errors._WaitTimeout):
            # The server may be at work for long.
            with suppress(psycopg.Error, OSError):
                connection.cancel_safe(timeout=_CANCEL_SECONDS)
        if exc.sqlstate is None or connection.broken:
            self.close()
            # What psycopg itself refuses, such as a text with a NUL, never left this process.
            return CallLost(explain(exc)) if isinstance(exc, _LOST) else CallFailed(explain(exc), "")
        if exc.sqlstate.startswith(_LEAVE):
            self.close()
        return CallFailed(explain(exc), exc.sqlstate)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    def connect(self, deadline: float) -> _Connection:
        """The open connection.

        Raises:
            BackendUnavailable: It cannot be opened.
        """
        connection = self._connection
        if connection is not None and self._process == os.getpid() and _is_idle(connection):
            connection.deadline = deadline
            return connection
        self.close()
        try:
            # Prepared statements would stay with a connection of the pooler.
            connection = _Connection.connect(self._info.conninfo, autocommit=True, prepare_threshold=None)
        except psycopg.Error as exc:
            where = self._info.description
            raise BackendUnavailable(f"PostgreSQL at {where} cannot be reached: {explain(exc)}") from exc
        connection.deadline = deadline
        self._connection, self._process = connection, os.getpid()
        return connection

    def notifications(self) -> list[str]:
        """The payloads of what was notified and has arrived. Does not wait; for a connection that listens.

        Raises:
            CallLost: The connection broke.
        """
        connection = self._connection
        if connection is None:
            raise CallLost
        try:
            connection.pgconn.consume_input()
        except psycopg.Error as exc:
            self.close()
            raise CallLost(explain(exc)) from exc
        payloads = []
        while (notify := connection.pgconn.notifies()) is not None:
            payloads.append(notify.extra.decode())
        return payloads

    def fileno(self) -> int:
        """The socket."""
        if self._connection is None:
            raise CallLost
        return self._connection.fileno()

    def close(self) -> None:
        """Close the connection. The next call opens it again."""
        connection, self._connection = self._connection, None
        # In a forked child the socket is the parent's: closing it would end the parent's session.
        if connection is not None and self._process == os.getpid():
            connection.close()


def _is_idle(connection: _Connection) -> bool:
    """Whether the server has not closed the connection meanwhile."""
    try:
        # Twice: the first time, a server that ended the session may have left its farewell.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return not connection.closed


def explain(exc: psycopg.Error) -> str:
    """The server's own words, without the statement and its values."""
    text = exc.diag.message_primary or str(exc).strip() or type(exc).__name__
    return text if text.endswith(".") else f"{text}."
