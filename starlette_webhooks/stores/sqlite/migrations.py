"""Migrates the schema of a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from starlette_webhooks.database_url import MEMORY
from starlette_webhooks.stores.migrations import (
    Applied,
    Installed,
    Migration,
    missing_migrations,
    outdated,
    read_migrations,
)
from starlette_webhooks.stores.sqlite.opening import APPLICATION_ID
from starlette_webhooks.stores.sqlite.queries import read_sql

__all__ = ["check", "installed", "migrate", "package_migrations"]

# Before this version, a file did not say which versions work with it.
_RECORDED_SINCE = 3


@cache
def package_migrations() -> tuple[Migration, ...]:
    """The migrations of this version of the package."""
    return read_migrations("starlette_webhooks.stores.sqlite")


def migrate(
    connection: sqlite3.Connection,
    path: str,
    migrations: Sequence[Migration] | None = None,
    *,
    applied: Applied | None = None,
) -> Installed:
    """Create or migrate the schema if necessary. Called under the lock of the file.

    Args:
        migrations: The migrations of the package by default.

    Raises:
        BackendUnavailable: The schema is from a newer version of the package, and this one does not work with it.
    """
    migrations = migrations or package_migrations()
    found = installed(connection)
    missing = missing_migrations(migrations, found, _where(path))
    if not found.version:
        # A new file gets the latest schema directly.
        latest = package_migrations()[-1]
        missing = [
            replace(latest, script=read_sql("schema.sql")),
            *(one for one in missing if one.version > latest.version),
        ]
    for migration in missing:
        _apply(connection, migration)
        if applied is not None:
            applied(migration)
    return installed(connection)


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    marks = f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {migration.version};"
    if migration.version >= _RECORDED_SINCE:
        marks += f"\nINSERT INTO migration (version, works_with) VALUES ({migration.version}, {migration.works_with});"
    # Not just `executescript`: it would commit the open transaction, and a crash could leave half a schema.
    connection.executescript(f"BEGIN IMMEDIATE;\n{migration.script}\n{marks}\nCOMMIT;")


def check(connection: sqlite3.Connection, path: str, migrations: Sequence[Migration] | None = None) -> Installed:
    """Check that this version of the package works with the schema.

    Raises:
        BackendUnavailable: It does not work with the schema.
    """
    migrations = migrations or package_migrations()
    found = installed(connection)
    if missing_migrations(migrations, found, _where(path)):
        raise outdated(migrations, found, _where(path))
    return found


def installed(connection: sqlite3.Connection) -> Installed:
    """Return the schema version of the file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < _RECORDED_SINCE:
        return Installed(version, version)
    query = "SELECT coalesce(max(version), 0), max(works_with) FROM migration"
    ((recorded, works_with),) = connection.execute(query)
    return Installed(version, works_with if recorded == version else version)


def _where(path: str) -> str:
    return "the database in memory" if path == MEMORY else f"the database {path!r}"
