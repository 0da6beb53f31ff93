"""Migrated PostgreSQL schemas for one test after another. Migrating a new one takes ten times as long as emptying one.

Tests of migrations, privileges or plans use a new schema instead, by the fixture `postgresql_schema`.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import psycopg
from psycopg import sql

from starlette_webhooks.stores.postgresql.migrations import migrate

__all__ = ["SchemaPool"]

_LARGE = 4_000_000
_SETTLING_SECONDS = 0.25

# Each statement that defines something writes a new row into a catalog.
_STRUCTURE = """
WITH relation AS (SELECT oid, xmin FROM pg_class WHERE relnamespace = %(schema)s::regnamespace)
SELECT md5(string_agg(concat_ws(' ', kind, id, xmin), ',' ORDER BY kind, id, xmin::text))
FROM (
    SELECT 'schema' AS kind, oid::bigint AS id, xmin FROM pg_namespace WHERE oid = %(schema)s::regnamespace
    UNION ALL SELECT 'relation', oid, xmin FROM relation
    UNION ALL SELECT 'column', attrelid, xmin FROM pg_attribute WHERE attrelid IN (SELECT oid FROM relation)
    UNION ALL SELECT 'default', oid, xmin FROM pg_attrdef WHERE adrelid IN (SELECT oid FROM relation)
    UNION ALL SELECT 'index', indexrelid, xmin FROM pg_index WHERE indrelid IN (SELECT oid FROM relation)
    UNION ALL SELECT 'trigger', oid, xmin FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM relation)
    UNION ALL SELECT 'constraint', oid, xmin FROM pg_constraint WHERE connamespace = %(schema)s::regnamespace
    UNION ALL SELECT 'function', oid, xmin FROM pg_proc WHERE pronamespace = %(schema)s::regnamespace
    UNION ALL SELECT 'type', oid, xmin FROM pg_type WHERE typnamespace = %(schema)s::regnamespace
) AS found
"""
_SIZE = "SELECT sum(pg_relation_size(oid))::bigint FROM pg_class WHERE relnamespace = %s::regnamespace"
_RELATIONS = "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = %s ORDER BY 1"
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND (backend_start > %s OR state <> 'idle')
"""


@dataclass(frozen=True, slots=True)
class _Schema:
    name: str
    structure: object
    emptying: sql.Composed
    first_rows: dict[str, bytes]


class SchemaPool:
    """Migrated schemas that are reused after everything that a test left in them is removed."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._free: list[_Schema] = []

    def close(self) -> None:
        """Drop the schemas."""
        with self._connection:
            for schema in self._free:
                self._drop(schema)

    @contextmanager
    def schema(self) -> Generator[str]:
        """A schema as `migrate` creates it, for one test."""
        schema = self._free.pop() if self._free else self._create()
        began = self._ask("SELECT clock_timestamp()")
        try:
            yield schema.name
        finally:
            if self._is_left_alone(began) and self._is_unchanged(schema):
                self._empty(schema)
                self._free.append(schema)
            else:
                self._drop(schema)

    def _create(self) -> _Schema:
        name = f"test_{uuid4().hex[:12]}"
        migrate(self._connection, name)
        tables = self._relations(name, "r")
        rows = {table: self._copy(name, table) for table in tables}
        parts = [sql.SQL("DELETE FROM {};").format(sql.Identifier(name, table)) for table in tables]
        for sequence in self._relations(name, "S"):
            state = self._connection.execute(
                sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(name, sequence))
            ).fetchone()
            assert state is not None
            parts.append(sql.SQL("SELECT setval({}, {}, {});").format(f"{name}.{sequence}", *state))
        return _Schema(name, self._structure(name), sql.Composed(parts), {key: row for key, row in rows.items() if row})

    def _is_left_alone(self, began: object) -> bool:
        # The server notices a closed connection a little later. It may still execute a statement of a killed process.
        end = time.monotonic() + _SETTLING_SECONDS
        while self._ask(_OTHERS, began):
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True

    def _is_unchanged(self, schema: _Schema) -> bool:
        exists = self._ask("SELECT to_regnamespace(%s) IS NOT NULL", schema.name)
        if not exists or self._structure(schema.name) != schema.structure:
            return False
        # Rows that are deleted still take up space, which makes statements slower.
        size = self._ask(_SIZE, schema.name)
        assert isinstance(size, int)
        return size < _LARGE

    def _empty(self, schema: _Schema) -> None:
        with self._connection.transaction(), self._connection.cursor() as cursor:
            # Without triggers, and so without checks of foreign keys.
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(schema.emptying)
            for table, rows in schema.first_rows.items():
                with cursor.copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(schema.name, table))) as copy:
                    copy.write(rows)

    def _drop(self, schema: _Schema) -> None:
        self._connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema.name)))

    def _structure(self, name: str) -> object:
        return self._ask(_STRUCTURE, {"schema": name})

    def _relations(self, name: str, kind: str) -> list[str]:
        return [str(row[0]) for row in self._connection.execute(_RELATIONS, (name, kind))]

    def _copy(self, name: str, table: str) -> bytes:
        statement = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name, table))
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            return b"".join(bytes(block) for block in copy)

    def _ask(self, statement: str, values: object = ()) -> object:
        parameters = values if isinstance(values, (dict, tuple)) else (values,)
        row = self._connection.execute(statement, parameters).fetchone()
        assert row is not None
        return row[0]
