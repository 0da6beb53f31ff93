"""`Outbox`: a table in the host's own database, for events that exist if and only if its transaction commits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette_webhooks.events import Event
from starlette_webhooks.outbox import drivers
from starlette_webhooks.outbox.identities import ServerIdentity
from starlette_webhooks.outbox.places import Place, Tables, place_of, place_of_url
from starlette_webhooks.outbox.rows import Row, to_row
from starlette_webhooks.outbox.writing import Written, kind_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, MetaData
    from sqlalchemy.ext.asyncio import AsyncEngine

    from starlette_webhooks.outbox.tables import SQLAlchemyTables

__all__ = ["Outbox"]

OnCommit: TypeAlias = Callable[[Sequence[Event]], None]

_UNSEEN = 10_000
_DIALECTS = ("sqlite", "postgresql", "mysql")


class Outbox:
    """A table in the database of the host, for `emit(..., within=session)`.

    Args:
        engine_or_url: A sync or async engine of SQLAlchemy, or a URL. The library reads the events in the table with
            it.
        others: Other engines of the same database, for example with another driver or through a pooler. Sessions can be
            bound to any of them.
        table: Its name: `outbox` on PostgreSQL, `webhooks_outbox` elsewhere.
        schema: Its schema: `webhooks` on PostgreSQL.

    Raises:
        ValueError: The database cannot contain an outbox.
    """

    def __init__(
        self,
        engine_or_url: Engine | AsyncEngine | str,
        *others: Engine | AsyncEngine,
        table: str | None = None,
        schema: str | None = None,
    ) -> None:
        self.url = engine_or_url if isinstance(engine_or_url, str) else None
        engines = others if isinstance(engine_or_url, str) else (engine_or_url, *others)
        self.engines: tuple[Any, ...] = engines
        self.place = place_of_url(engine_or_url) if isinstance(engine_or_url, str) else _place(engine_or_url)
        if self.place.dialect not in _DIALECTS:
            raise ValueError(f"There is no outbox for `{self.place.dialect}`. Use SQLite, PostgreSQL or MariaDB.")
        if self.url is not None and self.place.dialect == "sqlite" and self.place.database is None:
            raise ValueError("A URL cannot name a SQLite database in memory. Pass the engine itself to `Outbox`.")
        self.names = Tables.of(self.place.dialect, schema, table)
        self.missing: str | None = None
        """What to do about tables that are known to be missing; found before an INSERT of the host's would fail."""
        self.server = ServerIdentity()
        """The server of PostgreSQL that the tables are on. Known once the relay or the backend runs."""
        self._unseen: dict[str, tuple[Event, OnCommit]] = {}
        self.listeners: list[Callable[[bool], None]] = []
        """Called in any thread with whether rows were committed or may be soon. They must not raise."""

    def __repr__(self) -> str:
        return f"<Outbox {self.names.quoted(self.names.name)} in {self.place}>"

    # For the host's migrations

    @property
    def metadata(self) -> MetaData:
        """The tables, for `create_all` and for the `target_metadata` of Alembic."""
        return self._tables.metadata

    @property
    def row(self) -> type[Any]:
        """The mapped class of rows, for the `binds` of a session with several engines."""
        return self._tables.row

    def include_object(
        self, object: Any, name: str | None, type_: str, reflected: bool, compare_to: object | None
    ) -> bool:
        """For Alembic's `include_object`, whose arguments it has: excludes the tables, which autogenerate would drop.

        Not necessary if `metadata` is part of `target_metadata`.
        """
        table = object if type_ == "table" else getattr(object, "table", None)
        if table is None:
            return True
        ours = (self.names.name, self.names.relay, self.names.dead_letters)
        return not (table.name in ours and table.schema == self.names.schema)

    @cached_property
    def _tables(self) -> SQLAlchemyTables:
        try:
            import sqlalchemy
        except ImportError:
            raise RuntimeError("SQLAlchemy is not installed. Use `pip install sqlalchemy`.") from None
        from starlette_webhooks.outbox.tables import build_tables

        tables = build_tables(self.names)
        sqlalchemy.event.listen(tables.row, "before_insert", lambda _, connection, __: self._check(connection))
        return tables

    # Writing

    def statement(self, *events: Event, paramstyle: str) -> tuple[str, list[Any]]:
        """Return the SQL that inserts events into the outbox and its parameters, for drivers that `within=` lacks.

        Execute it in your transaction. Create the events with `emitter.prepare(...)`.

        Args:
            paramstyle: How the driver writes parameters: `qmark` for `?`, `format` or `pyformat` for `%s`,
                `numeric_dollar` for `$1`.
        """
        return drivers.statement_of(self.names, [to_row(event) for event in events], paramstyle)

    def write(self, within: Any, events: Sequence[Event], on_commit: OnCommit | None = None) -> Written:
        """Write events within a transaction of the host, with a session or a sync connection.

        Args:
            on_commit: Called in any thread after the outermost commit. A driver's own connections do not announce it:
                for these, called when the relay of this process has moved the events.

        Raises:
            TypeError: The object has no transaction, or its calls must be awaited.
            RuntimeError: It uses another database, or commits automatically.
        """
        self._check_tables()
        rows, written = [to_row(event) for event in events], self._written(events, on_commit)
        kind = kind_of(within)
        if kind in ("session", "async session"):
            from starlette_webhooks.outbox.sessions import add_to_session, session_behind

            add_to_session(session_behind(within), self.row, self._check_bind, rows, written)
        elif kind == "connection":
            from starlette_webhooks.outbox.connections import write_connection

            write_connection(within, self._tables.outbox, self._check, rows, written)
        elif kind == "psycopg":
            self._check_name(within.info.dbname)
            at = drivers.address_of_psycopg(within)
            self._check_server(at, drivers.write_psycopg(self.names, within, rows, self.server.expected_at(at)))
            self._expect(rows, events, on_commit)
        elif kind == "sqlite3":
            self._check_sqlite(within)
            drivers.write_sqlite(self.names, within, rows)
            self._expect(rows, events, on_commit)
        else:
            raise TypeError(
                "The calls of this connection must be awaited. Use `await emitter.send(..., within=connection)`, or "
                "`await emitter.send_many(...)`."
            )
        return written

    async def write_async(self, within: Any, events: Sequence[Event], on_commit: OnCommit | None = None) -> Written:
        """Like `write`, also for async connections."""
        kind = kind_of(within)
        if kind not in ("async connection", "async psycopg", "asyncpg"):
            return self.write(within, events, on_commit)
        self._check_tables()
        rows, written = [to_row(event) for event in events], self._written(events, on_commit)
        if kind == "async connection":
            from starlette_webhooks.outbox.connections import write_connection

            await within.run_sync(write_connection, self._tables.outbox, self._check, rows, written)
        elif kind == "async psycopg":
            self._check_name(within.info.dbname)
            at = drivers.address_of_psycopg(within)
            expected = self.server.expected_at(at)
            self._check_server(at, await drivers.write_psycopg_async(self.names, within, rows, expected))
            self._expect(rows, events, on_commit)
        else:
            self._check_name(database := await drivers.database_of_asyncpg(within))
            at = drivers.address_of_asyncpg(within, database)
            self._check_server(at, await drivers.write_asyncpg(self.names, within, rows, self.server.expected_at(at)))
            self._expect(rows, events, on_commit)
        return written

    def _check_tables(self) -> None:
        # An INSERT that fails would take the host's transaction with it.
        if self.missing is not None:
            raise RuntimeError(self.missing)

    def _written(self, events: Sequence[Event], on_commit: OnCommit | None) -> Written:
        def committed(events: Sequence[Event]) -> None:
            self._notify(True)
            if on_commit is not None:
                on_commit(events)

        return Written(events, committed)

    def _expect(self, rows: Sequence[Row], events: Sequence[Event], on_commit: OnCommit | None) -> None:
        if on_commit is not None:
            for row, event in zip(rows, events, strict=True):
                self._unseen[row.id] = (event, on_commit)
            while len(self._unseen) > _UNSEEN:  # pragma: no cover  Needs as many events.
                self._unseen.pop(next(iter(self._unseen)))
        self._notify(False)

    def moved(self, ids: Collection[str]) -> None:
        """Rows of these ids were moved into the backend, so they have been committed."""
        for id in ids if self._unseen else ():
            event, on_commit = self._unseen.pop(id, (None, None))
            if event is not None and on_commit is not None:
                on_commit([event])

    def share(self, other: Outbox) -> None:
        """Announce what is written here to those who empty the other outbox, which is the same table."""
        self.listeners, self._unseen, self.server = other.listeners, other._unseen, other.server

    def is_same(self, other: Outbox) -> bool:
        """Whether both are the same table, as far as their URLs show."""
        return self.place.is_same(other.place) and self.names == other.names

    def _notify(self, committed: bool) -> None:
        for listener in tuple(self.listeners):
            listener(committed)

    # Is it this database?

    def _check(self, connection: Connection) -> None:
        from starlette_webhooks.outbox.connections import check_transaction

        self._check_bind(connection)
        check_transaction(connection, self._tables.outbox)

    def _check_bind(self, bind: Engine | Connection) -> None:
        engine = bind.engine
        for own in map(_sync, self.engines):
            # Engines with other execution options share a pool.
            if own is engine or own.pool is engine.pool:
                return
        place = _place(engine)
        if not place.is_same(self.place):
            raise RuntimeError(
                f"`within` leads to {place}, and the outbox is in {self.place}. Emit within the database of the "
                "outbox. If both are one database, give its engine to the outbox, too: `Outbox(engine, other_engine)`."
            )

    def _check_dialect(self, dialect: str) -> None:
        if self.place.dialect != dialect:
            raise RuntimeError(f"`within` is a connection to {dialect}, and the outbox is in {self.place}.")

    def _check_name(self, name: str) -> None:
        """Check the name of the database that a driver of PostgreSQL is connected to."""
        self._check_dialect("postgresql")
        known = {self.place.database, *(_place(engine).database for engine in self.engines)}
        if name not in known and self.place.database:
            raise RuntimeError(
                f"`within` leads to the database {name!r}, and the outbox is in {self.place}. Emit within the database "
                "of the outbox. If both are one database, for example because a pooler has another name for it, give "
                "an engine with this name to the outbox, too: `Outbox(url, engine)`."
            )

    def _check_server(self, address: object, wrote: bool) -> None:
        if not wrote:
            raise RuntimeError(
                "`within` leads to another server than that of the outbox, with a database of the same name. The "
                f"outbox is in {self.place}. Emit within the database of the outbox."
            )
        self.server.is_proven(address)

    def _check_sqlite(self, connection: Any) -> None:
        self._check_dialect("sqlite")
        ((_, _, path), *_) = connection.execute("PRAGMA database_list").fetchall()
        place = place_of("sqlite", None, None, path)
        if place != self.place:
            raise RuntimeError(f"`within` leads to {place}, and the outbox is in {self.place}.")


def _sync(engine: Any) -> Any:
    return getattr(engine, "sync_engine", engine)


def _place(engine: Any) -> Place:
    url = _sync(engine).url
    return place_of(url.get_backend_name(), url.host, url.port, url.database)
