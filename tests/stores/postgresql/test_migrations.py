"""Creating the schema with concurrent processes, and with a role of minimal privileges."""

from __future__ import annotations

import threading
from collections.abc import Generator
from uuid import uuid4

import psycopg
import pytest

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.migrations import Migration
from starlette_webhooks.stores.postgresql.migrations import LOCK, Connection, check, migrate, package_migrations
from tests.eventually import wait_for

VERSION = package_migrations()[-1].version


@pytest.fixture
def connection(postgresql_url: str) -> Generator[Connection]:
    """A connection as a superuser."""
    with psycopg.connect(postgresql_url, autocommit=True) as found:
        yield found


def version(connection: Connection, schema: str) -> object:
    row = connection.execute(f"SELECT max(version) FROM {schema}.migration").fetchone()
    assert row is not None
    return row[0]


def test_schema_is_created_once_by_processes_that_start_together(postgresql_url: str, postgresql_schema: str) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            with psycopg.connect(postgresql_url, autocommit=True) as own:
                migrate(own, postgresql_schema)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with psycopg.connect(postgresql_url) as own:
        assert version(own, postgresql_schema) == VERSION


def test_waiting_for_a_process_that_is_suspended_during_a_migration_is_logged(
    connection: Connection, postgresql_url: str, postgresql_schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(postgresql_url, autocommit=True) as holder:
        backend = holder.info.backend_pid
        with holder.transaction():
            holder.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (LOCK, postgresql_schema))
            waiting = threading.Thread(
                target=migrate, args=(connection, postgresql_schema), kwargs={"say_after": 0.1}, daemon=True
            )
            waiting.start()
            assert wait_for(lambda: bool(caplog.records), 10)
        waiting.join(30)
    assert [record.message for record in caplog.records] == [
        f"Waiting for another process that migrates the schema {postgresql_schema!r}: the server's backend {backend}."
    ]
    assert version(connection, postgresql_schema) == VERSION


def test_migrating_again_changes_nothing(connection: Connection, postgresql_schema: str) -> None:
    migrate(connection, postgresql_schema)
    before = connection.execute(f"SELECT * FROM {postgresql_schema}.migration").fetchall()
    migrate(connection, postgresql_schema)
    assert connection.execute(f"SELECT * FROM {postgresql_schema}.migration").fetchall() == before


def test_failed_migration_leaves_nothing_behind(
    connection: Connection, postgresql_schema: str, postgresql_url: str
) -> None:
    # A foreign table with the name of one of ours.
    connection.execute(f"CREATE SCHEMA {postgresql_schema}")
    connection.execute(f"CREATE TABLE {postgresql_schema}.delivery (wrong text)")
    with pytest.raises(BackendUnavailable, match="already exists"):
        migrate(connection, postgresql_schema)
    left = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (postgresql_schema,)).fetchall()
    assert left == [("delivery",)]


def test_names_of_schemas_are_quoted(connection: Connection) -> None:
    name = f"Quoted-{uuid4().hex[:8]}"
    try:
        migrate(connection, name)
        check(connection, name)
    finally:
        connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')


def test_older_version_works_on_a_newer_schema_that_says_so(connection: Connection, postgresql_schema: str) -> None:
    migrate(connection, postgresql_schema)
    newer = [*package_migrations(), Migration(VERSION + 1, VERSION, "SELECT 1")]
    migrate(connection, postgresql_schema, newer)
    migrate(connection, postgresql_schema)
    migrate(connection, postgresql_schema, [*newer, Migration(VERSION + 2, VERSION + 1, "SELECT 1")])
    with pytest.raises(BackendUnavailable, match="Upgrade the package"):
        migrate(connection, postgresql_schema)


def test_missing_schema_is_named_if_it_must_not_be_created(connection: Connection, postgresql_schema: str) -> None:
    with pytest.raises(BackendUnavailable, match=postgresql_schema):
        check(connection, postgresql_schema)


def test_migration_waits_for_a_program_that_holds_a_lock_without_blocking_others(
    connection: Connection, postgresql_schema: str, postgresql_url: str
) -> None:
    migrate(connection, postgresql_schema)
    newer = [
        *package_migrations(),
        Migration(VERSION + 1, VERSION, "ALTER TABLE webhooks.event ADD COLUMN more text"),
    ]
    with psycopg.connect(postgresql_url) as other:
        other.execute(f"SELECT count(*) FROM {postgresql_schema}.event")
        with pytest.raises(BackendUnavailable, match="holds locks"):
            migrate(connection, postgresql_schema, newer, patience=0, lock_timeout=0.1)
    # Meanwhile, nothing waits in the queue for the lock.
    assert migrate(connection, postgresql_schema, newer).version == VERSION + 1
