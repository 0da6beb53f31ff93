"""Connects the relay to the database of an outbox, with the host's engine or its own connection."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import anyio
from anyio import CapacityLimiter, to_thread

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.outbox.places import Place

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["Busy", "Connector", "MissingTable", "Statement", "connect"]

Statement: TypeAlias = tuple[str, Mapping[str, Any]]
"""SQL with `:name` for parameters, and their values."""

Rows: TypeAlias = Sequence[Sequence[Any]]

_PARAMETER = re.compile(r"(?<!:):([a-z]\w*)")
_MISSING = ("42P01", "3F000")
_MISSING_MYSQL = 1146
# The relay should wait for the host, not the host for the relay.
_LOCK_SECONDS = 2.0


class MissingTable(BackendUnavailable):
    """Raised if the outbox has no table."""

    message = "The outbox has no table."


class Busy(Exception):
    """Raised if the host is in a transaction on the only connection. Try again soon."""

    def __init__(self) -> None:
        super().__init__("The host is in a transaction on the only connection.")


class Connector(Protocol):
    """Runs short transactions."""

    async def run(self, *statements: Statement) -> Rows:
        """Run statements in one transaction, and return the rows of the last.

        Raises:
            BackendUnavailable: The database is unavailable.
            Busy: The host uses the only connection.
        """

    async def close(self) -> None:
        """Close open connections."""


def connect(source: Engine | AsyncEngine | str, place: Place) -> Connector:
    """Return the connector of an engine or a URL."""
    if isinstance(source, str):
        if place.dialect == "sqlite":
            return _Threaded(_SQLite(str(place.database)))
        if place.dialect == "postgresql":
            return _Threaded(_Psycopg(source))
        from sqlalchemy import create_engine

        return _Threaded(_Engine(create_engine(source), disposes=True))
    is_async = hasattr(source, "sync_engine")
    if place.dialect == "sqlite" and place.database is None:
        return _AsyncMemory(cast("AsyncEngine", source)) if is_async else _Memory(cast("Engine", source))
    return _AsyncEngine(cast("AsyncEngine", source)) if is_async else _Threaded(_Engine(cast("Engine", source)))


class _Blocking(Protocol):
    def run(self, statements: Sequence[Statement]) -> Rows: ...

    def close(self) -> None: ...


class _Threaded:
    """Runs blocking calls on a thread that does not belong to the host's limit."""

    def __init__(self, blocking: _Blocking) -> None:
        self._blocking = blocking
        self._limiter: CapacityLimiter | None = None

    async def run(self, *statements: Statement) -> Rows:
        rows: Rows = await self._call(lambda: _translated(self._blocking.run, statements))
        return rows

    async def close(self) -> None:
        await self._call(self._blocking.close)

    async def _call(self, fn: Callable[[], Any]) -> Any:
        self._limiter = self._limiter or CapacityLimiter(1)
        return await to_thread.run_sync(fn, limiter=self._limiter)


class _Own:
    """A connection of our own, opened by the first call."""

    _connection: Any = None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _SQLite(_Own):
    """A connection of `sqlite3`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def run(self, statements: Sequence[Statement]) -> Rows:
        import sqlite3

        if self._connection is None:
            self._connection = sqlite3.connect(
                self._path, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
        connection: sqlite3.Connection = self._connection
        rows: Rows = []
        if len(statements) > 1:
            connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, values in statements:
                rows = connection.execute(sql, values).fetchall()
            if connection.in_transaction:
                connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return rows


class _Psycopg(_Own):
    """A connection of `psycopg` that reopens after a fault. Nothing is prepared, because there may be a pooler."""

    def __init__(self, url: str) -> None:
        self._url = re.sub(r"^\w+(\+\w+)?://", "postgresql://", url)

    def run(self, statements: Sequence[Statement]) -> Rows:
        try:
            import psycopg
        except ImportError:
            remedy = "psycopg is not installed. Use `pip install 'psycopg[binary]'`."
            raise RuntimeError(remedy) from None
        if self._connection is None:
            self._connection = psycopg.connect(
                self._url, autocommit=True, prepare_threshold=None, connect_timeout=3, application_name="webhooks relay"
            )
        rows: Rows = []
        try:
            with self._connection.transaction():
                for sql, values in statements:
                    cursor = self._connection.execute(_PARAMETER.sub(r"%(\1)s", sql), values)
                    rows = cursor.fetchall() if cursor.description else []
        except BaseException:
            if self._connection.broken or self._connection.closed:
                self.close()
            raise
        return rows


class _Engine(_Own):
    """A connection of the host's engine.

    It is detached from the pool, which the host may dispose of while the relay still runs, and occupies no slot of it.
    """

    def __init__(self, engine: Engine, *, disposes: bool = False) -> None:
        self._engine = engine
        self._disposes = disposes

    def run(self, statements: Sequence[Statement]) -> Rows:
        from sqlalchemy import text

        rows: Rows = []
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
                self._connection.detach()
            with self._connection.begin():
                for sql, values in statements:
                    result = self._connection.execute(text(sql), values)
                    rows = [tuple(row) for row in result] if result.returns_rows else []
        except BaseException:
            super().close()
            raise
        return rows

    def close(self) -> None:
        super().close()
        if self._disposes:
            self._engine.dispose()


class _AsyncEngine:
    """Like `_Engine`, on the event loop."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        # The relay and operators use it.
        self._one_at_a_time = anyio.Lock()

    async def run(self, *statements: Statement) -> Rows:
        # An interrupted call would leave the connection in an unknown state.
        with _Translating(), anyio.CancelScope(shield=True):
            async with self._one_at_a_time:
                rows = await self._run_or_close(statements)
        return rows

    async def _run_or_close(self, statements: Sequence[Statement]) -> Rows:
        try:
            return await self._run(statements)
        except BaseException:
            await self.close()
            raise

    async def _run(self, statements: Sequence[Statement]) -> Rows:
        from sqlalchemy import text

        if self._connection is None:
            self._connection = await self._engine.connect()
            await self._connection.run_sync(lambda connection: connection.detach())
        rows: Rows = []
        async with self._connection.begin():
            for sql, values in statements:
                result = await self._connection.execute(text(sql), values)
                rows = [tuple(row) for row in result] if result.returns_rows else []
        return rows

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # It may be broken.
        with suppress(Exception), anyio.CancelScope(shield=True):
            adapted: Any = (await connection.get_raw_connection()).dbapi_connection
            # SQLAlchemy would terminate it, without waiting for the end.
            closed = adapted.driver_connection.close()
            if closed is not None:
                await closed
            await connection.invalidate()
            await connection.close()


def _transact(connection: sqlite3.Connection, statements: Sequence[Statement]) -> Rows:
    """Run statements in a transaction on a connection that the host also uses."""
    if connection.in_transaction:
        raise Busy
    rows: Rows = []
    try:
        for sql, values in statements:
            rows = connection.execute(sql, values).fetchall()
        connection.commit()
    except BaseException:
        # The host would commit the rest.
        connection.rollback()
        raise
    return rows


class _Memory:
    """An engine of a database in memory, which has one connection for all, on the event loop's thread.

    The connection is checked out once and kept, because returning it would roll back what the host does on it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._taken: Any = None

    async def run(self, *statements: Statement) -> Rows:
        if self._taken is None:
            self._taken = self._engine.raw_connection()
        with _Translating():
            return _transact(self._taken.dbapi_connection, statements)

    async def close(self) -> None:
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.close()


class _AsyncMemory:
    """Like `_Memory`, for an async engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._taken: AsyncConnection | None = None
        self._one_at_a_time = anyio.Lock()

    async def run(self, *statements: Statement) -> Rows:
        with _Translating(), anyio.CancelScope(shield=True):
            async with self._one_at_a_time:
                rows = await self._run(statements)
        return rows

    async def _run(self, statements: Sequence[Statement]) -> Rows:
        if self._taken is None:
            self._taken = await self._engine.connect()
        driver: Any = (await self._taken.get_raw_connection()).driver_connection
        # In one call of its thread, which has no public name: between two, the host could use the connection, and end a
        # transaction that is not its own.
        rows: Rows = await driver._execute(_transact, driver._conn, statements)
        return rows

    async def close(self) -> None:
        taken, self._taken = self._taken, None
        if taken is not None:
            with anyio.CancelScope(shield=True):
                await taken.close()


class _Translating:
    """Translates the errors of drivers."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        if isinstance(exc, Exception) and not isinstance(exc, (Busy, BackendUnavailable, RuntimeError)):
            raise _explain(exc) from exc


def _translated(fn: Callable[[Sequence[Statement]], Rows], statements: Sequence[Statement]) -> Rows:
    with _Translating():
        return fn(statements)


def _explain(exc: Exception) -> BackendUnavailable:
    # SQLAlchemy wraps the driver's error, whose text has neither the statement nor its values.
    error = getattr(exc, "orig", None) or exc
    state = getattr(error, "sqlstate", None)
    missing = state in _MISSING or "no such table" in str(error) or _MISSING_MYSQL in getattr(error, "args", ())[:1]
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (MissingTable if missing else BackendUnavailable)(f"The outbox cannot be used: {text.rstrip('.')}.")
