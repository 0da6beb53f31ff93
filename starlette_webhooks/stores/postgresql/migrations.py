"""Bringing the schema up to date, one process at a time, in one transaction."""

from __future__ import annotations

import psycopg

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.postgresql.queries import quote_name, read_migrations

__all__ = ["SCHEMA_VERSION", "check", "migrate"]

SCHEMA_VERSION = 1
# The oldest version of this package's schema that works on the current one, so that a rolling deploy may go on.
_WORKS_WITH = 1
_LOCK = 5747


def migrate(connection: psycopg.Connection[tuple[object, ...]], schema: str) -> None:
    """Make the schema, or bring it up to date. Nothing is done where it is.

    Raises:
        BackendUnavailable: A newer version of the package made it, which this one does not work with.
    """
    if _version(connection, schema) >= SCHEMA_VERSION:
        check(connection, schema)
        return
    with connection.transaction():
        # Held until the commit, so also behind a pooler.
        connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, schema))
        name = quote_name(schema)
        version = _version(connection, schema)
        if version == 0:
            if not _schema_exists(connection, schema):
                connection.execute(f"CREATE SCHEMA {name}")
            connection.execute(
                f"CREATE TABLE {name}.migration (version integer PRIMARY KEY, works_with integer NOT NULL, "
                "applied_at timestamptz NOT NULL DEFAULT now())"
            )
        for number, script in read_migrations(schema).items():
            if number > version:
                connection.execute(script)
                connection.execute(
                    f"INSERT INTO {name}.migration (version, works_with) VALUES (%s, %s)", (number, _WORKS_WITH)
                )
    check(connection, schema)


def check(connection: psycopg.Connection[tuple[object, ...]], schema: str) -> None:
    """See that this version of the package works on the schema.

    Raises:
        BackendUnavailable: It does not.
    """
    version = _version(connection, schema)
    if version < SCHEMA_VERSION:
        raise BackendUnavailable(
            f"The schema {schema!r} has version {version}, and this package needs {SCHEMA_VERSION}. Set "
            "`WEBHOOKS_MIGRATE=true`, or migrate it before the start."
        )
    row = connection.execute(f"SELECT max(works_with) FROM {quote_name(schema)}.migration").fetchone()
    assert row is not None
    works_with = row[0]
    assert isinstance(works_with, int)
    if works_with > SCHEMA_VERSION:
        raise BackendUnavailable(
            f"A newer version of starlette_webhooks made the schema {schema!r} (version {version}), which works with "
            f"{works_with} at least; this one knows {SCHEMA_VERSION}. Upgrade the package."
        )


def _schema_exists(connection: psycopg.Connection[tuple[object, ...]], schema: str) -> bool:
    # `CREATE SCHEMA IF NOT EXISTS` needs the right to create one even where it exists.
    return connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone() is not None


def _version(connection: psycopg.Connection[tuple[object, ...]], schema: str) -> int:
    # Not `to_regclass`: behind the lock it would remember that the table was not there before.
    found = "SELECT FROM pg_tables WHERE schemaname = %s AND tablename = 'migration'"
    if connection.execute(found, (schema,)).fetchone() is None:
        return 0
    row = connection.execute(f"SELECT coalesce(max(version), 0) FROM {quote_name(schema)}.migration").fetchone()
    assert row is not None
    version = row[0]
    assert isinstance(version, int)
    return version
