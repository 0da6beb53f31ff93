"""Writes rows with connections of psycopg, asyncpg and sqlite3, without importing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette_webhooks.named_sql import substitute
from starlette_webhooks.outbox.places import Tables
from starlette_webhooks.outbox.queries import queries_of
from starlette_webhooks.outbox.rows import Row
from starlette_webhooks.outbox.writing import refuse

if TYPE_CHECKING:
    import sqlite3

__all__ = [
    "address_of_asyncpg",
    "address_of_psycopg",
    "database_of_asyncpg",
    "statement_of",
    "write_asyncpg",
    "write_psycopg",
    "write_psycopg_async",
    "write_sqlite",
]

# SQLite binds at most 32,766 values per statement.
_ROWS = 5000
_IDLE = 0


def statement_of(tables: Tables, rows: Sequence[Row], paramstyle: str) -> tuple[str, list[Any]]:
    """Return the statement that inserts rows, with positional parameters, for any driver."""
    marks = {"qmark": "?", "format": "%s", "pyformat": "%s"}
    if paramstyle == "numeric_dollar":
        groups = [f"(${n}, ${n + 1}, ${n + 2})" for n in range(1, 3 * len(rows) + 1, 3)]
    elif paramstyle in marks:
        mark = marks[paramstyle]
        groups = [f"({mark}, {mark}, {mark})"] * len(rows)
    else:
        raise ValueError(f"`paramstyle` must be `qmark`, `format`, `pyformat` or `numeric_dollar`, not {paramstyle!r}.")
    values = [value for row in rows for value in (row.id, row.tenant, row.body)]
    return substitute(queries_of(tables)["insert"], rows=", ".join(groups)), values


def _by_arrays(
    tables: Tables, marks: tuple[str, str, str, str], rows: Sequence[Row], server: str
) -> tuple[str, list[Any]]:
    queries, parts = queries_of(tables), dict(zip(("ids", "tenants", "bodies"), marks, strict=False))
    values: list[Any] = [[row.id for row in rows], [row.tenant for row in rows], [row.body for row in rows]]
    if not server:
        return substitute(queries["insert_arrays"], **parts), values
    return substitute(queries["insert_arrays_on_server"], **parts, server=marks[3]), [*values, server]


_FORMAT = ("%s", "%s", "%s", "%s")


def write_psycopg(tables: Tables, connection: Any, rows: Sequence[Row], server: str = "") -> bool:
    """Insert rows with a connection of psycopg.

    Args:
        server: The identifier that the server must have, if not empty.

    Returns:
        Whether it has this identifier. If not, nothing was inserted.
    """
    _check_psycopg(connection)
    cursor = connection.execute(*_by_arrays(tables, _FORMAT, rows, server))
    return bool(cursor.rowcount)


async def write_psycopg_async(tables: Tables, connection: Any, rows: Sequence[Row], server: str = "") -> bool:
    """Insert rows with an async connection of psycopg. See `write_psycopg`."""
    _check_psycopg(connection)
    cursor = await connection.execute(*_by_arrays(tables, _FORMAT, rows, server))
    return bool(cursor.rowcount)


def address_of_psycopg(connection: Any) -> object:
    """Return where a connection of psycopg leads to."""
    # A pooler can pass on each name to another server.
    return connection.info.host, connection.info.port, connection.info.dbname


def _check_psycopg(connection: Any) -> None:
    if connection.autocommit and connection.info.transaction_status == _IDLE:
        refuse("Emit within `with connection.transaction():` (async: `async with`), or turn `autocommit` off.")


async def database_of_asyncpg(connection: Any) -> str:
    """Return the name of the database of a connection of asyncpg."""
    # It has no public name, and to ask the server is a statement more.
    known = getattr(getattr(connection, "_params", None), "database", None)
    return str(known or await connection.fetchval("SELECT current_database()"))


def address_of_asyncpg(connection: Any, database: str) -> object:
    """Return where a connection of asyncpg leads to, or None if it does not say. It has no public name for this."""
    address = getattr(connection, "_addr", None)
    return None if address is None else (address, database)


async def write_asyncpg(tables: Tables, connection: Any, rows: Sequence[Row], server: str = "") -> bool:
    """Insert rows with a connection of asyncpg. See `write_psycopg`."""
    if not connection.is_in_transaction():
        refuse("Emit within `async with connection.transaction():`.")
    statement, values = _by_arrays(tables, ("$1", "$2", "$3", "$4"), rows, server)
    status: str = await connection.execute(statement, *values)
    return not status.endswith(" 0")


def write_sqlite(tables: Tables, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Insert rows with a connection of sqlite3, which begins a transaction by default."""
    by_itself = connection.isolation_level is None or getattr(connection, "autocommit", None) is True
    if by_itself and not connection.in_transaction:
        refuse('Execute "BEGIN" before, or connect without `isolation_level=None` and `autocommit=True`.')
    for start in range(0, len(rows), _ROWS):
        connection.execute(*statement_of(tables, rows[start : start + _ROWS], "qmark"))
