"""Migrates the schema, one process at a time and without long locks."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import cache

import psycopg
from psycopg import errors

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.stores.migrations import (
    Applied,
    Installed,
    Migration,
    missing_migrations,
    outdated,
    read_migrations,
)
from starlette_webhooks.stores.postgresql.connection import explain
from starlette_webhooks.stores.postgresql.indexes import build_indexes, indexes_of_new_schema
from starlette_webhooks.stores.postgresql.queries import qualify, quote_name

__all__ = ["LOCK", "Connection", "check", "grant", "installed", "migrate", "package_migrations"]

Connection = psycopg.Connection[tuple[object, ...]]

logger = logging.getLogger("starlette_webhooks")

LOCK = 5747
"""The class of the advisory lock for migrations. Its object is the hash of the schema's name."""
_LOCK_PAUSE = 0.05
_SAY_AFTER = 2.0
_PAUSE = 1.0
_PATIENCE = 120.0


@cache
def package_migrations() -> tuple[Migration, ...]:
    """The migrations of this version of the package."""
    return read_migrations("starlette_webhooks.stores.postgresql")


def migrate(
    connection: Connection,
    schema: str,
    migrations: Sequence[Migration] | None = None,
    *,
    applied: Applied | None = None,
    patience: float = _PATIENCE,
    lock_timeout: float = 2.0,
    say_after: float = _SAY_AFTER,
) -> Installed:
    """Create or migrate the schema if necessary.

    Args:
        migrations: The migrations of the package by default.
        patience: Seconds to retry while other programs hold locks on the tables.
        lock_timeout: Seconds to wait for such a lock at a time, since others queue behind a waiting process.
        say_after: Seconds after which waiting for another migrating process is logged.

    Raises:
        BackendUnavailable: The schema is from a newer version of the package, and this one does not work with it. Or
            the server refused the migration, which then had no effect.
    """
    migrations = migrations or package_migrations()
    where = _where(schema)
    new = not installed(connection, schema).version
    until = time.monotonic() + patience
    while missing_migrations(migrations, installed(connection, schema), where):
        try:
            done = _migrate_once(connection, schema, migrations, lock_timeout, say_after, new=new)
        except errors.InsufficientPrivilege as exc:
            raise BackendUnavailable(
                f"The schema {schema!r} cannot be migrated: {explain(exc)} Run `starlette-webhooks migrate` "
                "as the role that owns it."
            ) from exc
        except errors.LockNotAvailable as exc:
            if time.monotonic() > until:
                raise BackendUnavailable(
                    f"The schema {schema!r} cannot be migrated: another program holds locks on its tables. "
                    "See `pg_stat_activity` for old transactions."
                ) from exc
            time.sleep(_PAUSE)
            continue
        except psycopg.Error as exc:
            raise BackendUnavailable(f"The schema {schema!r} cannot be migrated: {explain(exc)}") from exc
        if done is not None and applied is not None:
            applied(done)
    build_indexes(connection, schema, migrations, lock_timeout=lock_timeout)
    return installed(connection, schema)


def _migrate_once(
    connection: Connection,
    schema: str,
    migrations: Sequence[Migration],
    lock_timeout: float,
    say_after: float,
    *,
    new: bool,
) -> Migration | None:
    """Apply the next migration, in a transaction of its own."""
    name = quote_name(schema)
    with connection.transaction():
        _lock(connection, schema, say_after)
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{lock_timeout * 1000:.0f}ms",))
        connection.execute("SET LOCAL statement_timeout = 0")
        found = installed(connection, schema)
        missing = missing_migrations(migrations, found, _where(schema))
        if not missing:
            # Another process has just done it.
            return None
        if not found.version:
            _make_schema(connection, schema)
        migration = missing[0]
        connection.execute(qualify(migration.script, schema))
        if new and migration.indexes:
            connection.execute(qualify(indexes_of_new_schema(migration), schema))
        connection.execute(
            f"INSERT INTO {name}.migration (version, works_with) VALUES (%s, %s)",
            (migration.version, migration.works_with),
        )
    return migration


def _lock(connection: Connection, schema: str, say_after: float) -> None:
    # Held until the commit, so it also works behind a pooler. Tried repeatedly: a process that waits for a stopped one
    # must be able to log it.
    started, said = time.monotonic(), False
    while True:
        row = connection.execute("SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", (LOCK, schema)).fetchone()
        if row == (True,):
            return
        if not said and time.monotonic() - started >= say_after:
            said = True
            logger.warning(
                "Waiting for another process that migrates %s%s.",
                _where(schema),
                _holder(connection),
                extra=log_fields("migration.waiting"),
            )
        time.sleep(_LOCK_PAUSE)


def _holder(connection: Connection) -> str:
    row = connection.execute(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (LOCK,),
    ).fetchone()
    return "" if row is None else f": the server's backend {row[0]}"


def _make_schema(connection: Connection, schema: str) -> None:
    name = quote_name(schema)
    # `CREATE SCHEMA IF NOT EXISTS` requires the privilege to create one even if it exists.
    if connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone() is None:
        connection.execute(f"CREATE SCHEMA {name}")
    connection.execute(
        f"CREATE TABLE {name}.migration (version integer PRIMARY KEY, works_with integer NOT NULL, "
        "applied_at timestamptz NOT NULL DEFAULT now())"
    )


def check(connection: Connection, schema: str, migrations: Sequence[Migration] | None = None) -> Installed:
    """Check that this version of the package works with the schema.

    Raises:
        BackendUnavailable: It does not work with the schema.
    """
    migrations = migrations or package_migrations()
    found = installed(connection, schema)
    if missing_migrations(migrations, found, _where(schema)):
        raise outdated(migrations, found, _where(schema))
    return found


def grant(connection: Connection, schema: str, role: str) -> None:
    """Let a role use the schema without changing it. Repeat this after each migration."""
    name, grantee = quote_name(schema), quote_name(role)
    connection.execute(
        f"GRANT USAGE ON SCHEMA {name} TO {grantee};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {name} TO {grantee};"
        f"REVOKE INSERT, UPDATE, DELETE ON {name}.migration FROM {grantee};"
        f"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA {name} TO {grantee};"
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {name} TO {grantee};"
    )


def installed(connection: Connection, schema: str) -> Installed:
    """Return the version of the schema."""
    # Not `to_regclass`: after waiting for the lock, it would still see that the table did not exist.
    found = "SELECT FROM pg_tables WHERE schemaname = %s AND tablename = 'migration'"
    if connection.execute(found, (schema,)).fetchone() is None:
        return Installed()
    name = quote_name(schema)
    row = connection.execute(f"SELECT coalesce(max(version), 0), coalesce(max(works_with), 0) FROM {name}.migration")
    version, works_with = row.fetchone() or (0, 0)
    assert isinstance(version, int)
    assert isinstance(works_with, int)
    return Installed(version, works_with)


def _where(schema: str) -> str:
    return f"the schema {schema!r}"
