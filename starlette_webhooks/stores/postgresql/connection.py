"""A connection that reopens after a fault, with a deadline for each call."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import errors

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.postgresql.conninfo import ConnectionInfo
from starlette_webhooks.stores.postgresql.opening import OpenConnection, Opening, Row

__all__ = ["CallFailed", "CallLost", "Link", "Row", "explain"]

# The server is shutting down, or is a standby that refuses writes. Another connection may reach another server.
_ELSEWHERE = ("08", "25006", "57P")
# The class of SQLSTATE: values, constraints, row-level security, limits such as the size of an index entry, errors that
# triggers raise. None if psycopg refused the values.
_AT_FAULT = ("", "22", "23", "44", "54", "P0")
_LOST = (psycopg.OperationalError, psycopg.InterfaceError)
_CANCEL_SECONDS = 1.0


class CallLost(BackendUnavailable):
    """Raised when the connection broke during a call that the server may have completed.

    Attributes:
        since: When the call began, by `time.monotonic()`.
    """

    message = "The connection broke during a call that the server may have completed."

    def __init__(self, message: str | None = None, since: float | None = None) -> None:
        super().__init__(message)
        self.since = time.monotonic() if since is None else since


class CallFailed(BackendUnavailable):
    """The server refused a statement, which had no effect. `sqlstate` says why."""

    def __init__(self, message: str, sqlstate: str, constraint: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self._constraint = constraint

    @property
    def positions_taken(self) -> bool:
        """Whether the log has more events than its sequence of positions, for example after an incomplete restore."""
        return self.sqlstate == "23505" and self._constraint == "event_pkey"

    @property
    def elsewhere(self) -> bool:
        """Whether this server cannot be used, while another connection may reach one that can."""
        return self.sqlstate.startswith(_ELSEWHERE)

    @property
    def at_fault(self) -> bool:
        """Whether one of the rows is at fault, so that it fails again and the others would not."""
        return self.sqlstate[:2] in _AT_FAULT


class Link:
    """A connection that opens with its first call, and again after a fault. For one thread at a time.

    Each call is one statement in autocommit mode, so that no lock or snapshot ever depends on this process, and a
    pooler in transaction mode can be in between. For this reason, nothing is prepared or set on the connection.
    """

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._connection: OpenConnection | None = None
        self._opening: Opening | None = None
        self._process = 0

    def call(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = (), *, deadline: float) -> list[Row]:
        """Execute a statement and return its rows.

        Args:
            deadline: When to give up, by `time.monotonic()`.

        Raises:
            CallLost: The connection broke after the statement was sent, or the deadline passed.
            CallFailed: The server refused the statement.
            BackendUnavailable: There is no connection.
        """
        connection = self.connect(deadline)
        began = time.monotonic()
        try:
            with connection.cursor(binary=True) as cursor:
                cursor.execute(statement, values, prepare=False)
                return cursor.fetchall() if cursor.description else []
        except psycopg.Error as exc:
            raise self._failed(connection, exc, began) from exc
        except OSError as exc:  # pragma: no cover  Descriptors must run out during a call.
            # There is no free descriptor to wait for the answer.
            self.close()
            raise CallLost(explain(exc)) from exc
        except BaseException:  # pragma: no cover  A signal must arrive during a call.
            self.close()
            raise

    def _failed(self, connection: OpenConnection, exc: psycopg.Error, began: float) -> BackendUnavailable:
        if isinstance(exc, errors._WaitTimeout):
            # The server may need long for this call. The caller does not wait for that, as it may be out of reach.
            self._connection = None
            try:
                threading.Thread(target=_cancel, args=(connection,), daemon=True).start()
            except RuntimeError:
                # There is no thread left. The server notices by itself.
                connection.close()
            return CallLost(explain(exc), began)
        if exc.sqlstate is None or connection.broken:
            self.close()
            # What psycopg itself refuses, such as a text with NUL, was not sent.
            return CallLost(explain(exc), began) if isinstance(exc, _LOST) else CallFailed(explain(exc), "")
        failed = CallFailed(explain(exc), exc.sqlstate, exc.diag.constraint_name)
        if failed.elsewhere:
            self.close()
        return failed

    @property
    def is_open(self) -> bool:
        """Whether the connection is open, as far as known."""
        return self._connection is not None

    def connect(self, deadline: float) -> OpenConnection:
        """Open the connection if necessary, and return it.

        Raises:
            BackendUnavailable: It cannot be opened.
        """
        connection = self._connection
        if connection is not None and self._process == os.getpid() and _is_idle(connection):
            connection.deadline = deadline
            return connection
        where = f"PostgreSQL at {self._info.description}"
        opening = self._opening if self._process == os.getpid() else None
        try:
            if opening is None:
                self.close()
                self._opening, self._process = opening, _ = Opening(self._info), os.getpid()
            connection = opening.wait(deadline)
        except (psycopg.Error, OSError, RuntimeError) as exc:
            # Not only the server's: the process may have no free descriptor or thread.
            self._opening = None
            raise BackendUnavailable(f"{where} cannot be reached: {explain(exc)}") from exc
        if connection is None:
            raise BackendUnavailable(f"{where} cannot be reached: it has not answered in time.")
        self._opening = None
        connection.deadline = deadline
        self._connection = connection
        return connection

    def notifications(self) -> list[str]:
        """Return the payloads of received notifications without waiting. For a connection that listens.

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
        opening, self._opening = self._opening, None
        # In a forked child, the socket belongs to the parent, and closing it would end the parent's session.
        if self._process != os.getpid():
            return
        if connection is not None:
            connection.close()
        if opening is not None:
            opening.drop()


def _cancel(connection: OpenConnection) -> None:
    with suppress(psycopg.Error, OSError):
        connection.cancel_safe(timeout=_CANCEL_SECONDS)
    connection.close()


def _is_idle(connection: OpenConnection) -> bool:
    """Whether the server has not closed the connection meanwhile."""
    try:
        # Twice: if the server ended the session, the first read may return its last message.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return not connection.closed


def explain(exc: Exception) -> str:
    """Return the message of the server or the system, without the statement and its values."""
    primary = exc.diag.message_primary if isinstance(exc, psycopg.Error) else None
    text = " ".join((primary or str(exc)).split()) or type(exc).__name__
    return text if text.endswith((".", "?", "!")) else f"{text}."
