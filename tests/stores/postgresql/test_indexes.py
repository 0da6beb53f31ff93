"""Indexes of migrations, which are built on tables with rows while other processes write to them."""

from __future__ import annotations

import threading
from collections.abc import Generator

import psycopg
import pytest
from psycopg import errors

from starlette_webhooks.stores.migrations import Migration
from starlette_webhooks.stores.postgresql.migrations import Connection, migrate, package_migrations
from tests.eventually import wait_for

VERSION = package_migrations()[-1].version
INDEX = "CREATE INDEX CONCURRENTLY IF NOT EXISTS listener_by_until ON webhooks.listener (until);"
NEWER = [*package_migrations(), Migration(VERSION + 1, VERSION, "SELECT 1", INDEX)]


@pytest.fixture
def connection(postgresql_url: str) -> Generator[Connection]:
    """A connection as a superuser."""
    with psycopg.connect(postgresql_url, autocommit=True) as found:
        yield found


@pytest.fixture
def writer(postgresql_url: str) -> Generator[Connection]:
    """Another connection, with transactions."""
    with psycopg.connect(postgresql_url) as found:
        found.execute("SET lock_timeout = '1s'")
        yield found


def is_complete(connection: Connection, schema: str) -> bool | None:
    row = connection.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", (f"{schema}.listener_by_until",)
    ).fetchone()
    return None if row is None else bool(row[0])


def write(connection: Connection, schema: str, name: str) -> None:
    connection.execute(f"INSERT INTO {schema}.listener VALUES (%s, false, now())", (name,))


def test_new_schema_has_the_index_immediately(
    connection: Connection, writer: Connection, postgresql_schema: str
) -> None:
    # A transaction that began before would hold up an index that is built beside others.
    writer.execute("SELECT txid_current()")
    migrate(connection, postgresql_schema, NEWER)
    assert is_complete(connection, postgresql_schema)


def test_index_is_built_while_others_write_and_start(
    connection: Connection, writer: Connection, postgresql_schema: str, postgresql_url: str
) -> None:
    migrate(connection, postgresql_schema)
    write(writer, postgresql_schema, "before")
    # The limit of a process, which is lifted for the index only.
    connection.execute("SET statement_timeout = '500ms'")
    building = threading.Thread(target=migrate, args=(connection, postgresql_schema, NEWER), daemon=True)
    building.start()
    with psycopg.connect(postgresql_url, autocommit=True) as other:
        assert wait_for(lambda: is_complete(other, postgresql_schema) is False)
        # It waits for the first writer, and holds up neither the next one nor another process that starts.
        other.execute("SET lock_timeout = '1s'")
        write(other, postgresql_schema, "meanwhile")
        assert migrate(other, postgresql_schema, NEWER, lock_timeout=0.1).version == VERSION + 1
        building.join(0.6)
        assert building.is_alive()
        writer.commit()
        building.join(20)
        assert is_complete(other, postgresql_schema)
        assert connection.execute("SHOW statement_timeout").fetchone() == ("500ms",)


def test_index_that_was_left_unfinished_is_built_again(
    connection: Connection, writer: Connection, postgresql_schema: str
) -> None:
    migrate(connection, postgresql_schema)
    write(writer, postgresql_schema, "before")
    connection.execute("SET statement_timeout = '100ms'")
    with pytest.raises(errors.QueryCanceled):
        connection.execute(INDEX.replace("webhooks.", f"{postgresql_schema}."))
    connection.execute("RESET statement_timeout")
    assert is_complete(connection, postgresql_schema) is False
    writer.commit()
    migrate(connection, postgresql_schema, NEWER)
    assert is_complete(connection, postgresql_schema)


def test_index_that_cannot_be_built_now_is_logged_and_built_by_the_next_start(
    connection: Connection, writer: Connection, postgresql_schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    migrate(connection, postgresql_schema)
    writer.execute(f"LOCK TABLE {postgresql_schema}.listener")
    migrate(connection, postgresql_schema, NEWER, lock_timeout=0.1)
    assert "The index listener_by_until could not be built, and is tried again later" in caplog.text
    assert is_complete(connection, postgresql_schema) is None
    writer.commit()
    migrate(connection, postgresql_schema, NEWER)
    assert is_complete(connection, postgresql_schema)
