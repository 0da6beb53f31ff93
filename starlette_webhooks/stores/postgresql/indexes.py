"""Builds indexes on tables with rows, while other processes write to them.

An index that a migration creates itself blocks all writers of the table until it is built. Those in the migration's
`indexes.sql` are built afterwards instead, outside a transaction. A process that starts meanwhile does not wait for
them, so nothing but speed may depend on such an index.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.stores.migrations import Migration
from starlette_webhooks.stores.postgresql.connection import explain
from starlette_webhooks.stores.postgresql.queries import qualify, quote_name

__all__ = ["build_indexes", "indexes_of_new_schema"]

Connection = psycopg.Connection[tuple[object, ...]]

logger = logging.getLogger("starlette_webhooks")

_STATEMENT = re.compile(r"CREATE INDEX CONCURRENTLY IF NOT EXISTS (\w+) ON webhooks\.(\w+)\s[^;]+;")
_LIMITS = ("statement_timeout", "lock_timeout")


@dataclass(frozen=True, slots=True)
class _Index:
    name: str
    table: str
    statement: str


def indexes_of_new_schema(migration: Migration) -> str:
    """Return SQL for the indexes of tables that were created just before, which nobody uses yet."""
    return migration.indexes.replace(" CONCURRENTLY ", " ")


def build_indexes(connection: Connection, schema: str, migrations: Sequence[Migration], *, lock_timeout: float) -> None:
    """Build the indexes that are missing, or that a process which was killed left unfinished.

    If one cannot be built now, this is logged, and the next process that starts tries again.

    Args:
        connection: A connection in autocommit mode. Behind a pooler, the timeouts of the role apply.
        lock_timeout: Seconds to wait for another process that builds an index of the same table.
    """
    for index in (found for migration in migrations for found in _indexes(migration)):
        try:
            if not _exists(connection, schema, index) and _is_up_to_us(connection, schema, index, lock_timeout):
                fields = log_fields("index.building", index=index.name)
                logger.warning("Building the index %s. Other processes continue to work.", index.name, extra=fields)
                with _without_limits(connection):
                    connection.execute(qualify(index.statement, schema))
        except psycopg.Error as exc:
            logger.warning(
                "The index %s could not be built, and is tried again later: %s",
                index.name,
                explain(exc),
                extra=log_fields("index.failed", index=index.name),
            )


def _indexes(migration: Migration) -> list[_Index]:
    return [_Index(found[1], found[2], found[0]) for found in _STATEMENT.finditer(migration.indexes)]


def _exists(connection: Connection, schema: str, index: _Index) -> bool | None:
    """Return whether the index is complete, or None if there is none."""
    row = connection.execute(
        "SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = %s AND relname = %s",
        (schema, index.name),
    ).fetchone()
    return None if row is None else bool(row[0])


def _is_up_to_us(connection: Connection, schema: str, index: _Index, lock_timeout: float) -> bool:
    """Return whether the index is still missing while no other process builds it. Drops an unfinished one."""
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{lock_timeout * 1000:.0f}ms",))
        # Held by a process that builds one, and does not block writers.
        connection.execute(f"LOCK TABLE {quote_name(schema)}.{index.table} IN SHARE UPDATE EXCLUSIVE MODE")
        found = _exists(connection, schema, index)
        if found is False:
            connection.execute(f"DROP INDEX {quote_name(schema)}.{index.name}")
    return not found


@contextmanager
def _without_limits(connection: Connection) -> Iterator[None]:
    """Let statements take as long as they need, unless a pooler lends the session to others."""
    own = "pg_backend_pid() = %s"
    pid = connection.info.backend_pid
    before = [connection.execute(f"SHOW {name}").fetchone() for name in _LIMITS]
    for name in _LIMITS:
        connection.execute(f"SELECT set_config(%s, '0', false) WHERE {own}", (name, pid))
    try:
        yield
    finally:
        if not connection.closed:  # pragma: no branch  The connection must break during the migration.
            for name, row in zip(_LIMITS, before, strict=True):
                assert row is not None
                connection.execute(f"SELECT set_config(%s, %s, false) WHERE {own}", (name, row[0], pid))
