"""Fixtures with PostgreSQL. Tests that need them are skipped if there is no server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from uuid import uuid4

import psycopg
import pytest

from tests.postgresql import PgBouncer, PostgreSQL, find_binaries, pooling, starting_postgresql
from tests.schema_pool import SchemaPool

__all__ = ["migrated_schema", "own_postgresql", "pgbouncer_url", "postgresql_schema", "postgresql_url"]


def _start() -> Generator[PostgreSQL]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("No PostgreSQL: install Debian's package `postgresql`, or set WEBHOOKS_TEST_POSTGRESQL.")
    with starting_postgresql(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def _session_postgresql() -> Generator[PostgreSQL]:
    yield from _start()


@pytest.fixture(scope="session")
def postgresql_url(request: pytest.FixtureRequest) -> str:
    """The URL of a server that all tests share."""
    given = os.environ.get("WEBHOOKS_TEST_POSTGRESQL")
    if given:
        return given
    server: PostgreSQL = request.getfixturevalue("_session_postgresql")
    return server.url


@pytest.fixture(scope="session")
def pgbouncer(postgresql_url: str) -> Generator[PgBouncer]:
    """A pooler in transaction mode in front of the server."""
    if shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        pytest.skip("pgbouncer is not installed (Debian's package `pgbouncer`).")
    with pooling(postgresql_url) as pooler:
        yield pooler


@pytest.fixture(scope="session")
def pgbouncer_url(pgbouncer: PgBouncer) -> str:
    """The URL of the server through the pooler."""
    return pgbouncer.url


@pytest.fixture
def postgresql_schema(postgresql_url: str) -> Generator[str]:
    """The name of a schema that does not exist yet. Only this test uses it."""
    name = f"test_{uuid4().hex[:12]}"
    yield name
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture(scope="session")
def _schema_pool(postgresql_url: str) -> Generator[SchemaPool]:
    pool = SchemaPool(postgresql_url)
    yield pool
    pool.close()


@pytest.fixture
def migrated_schema(_schema_pool: SchemaPool) -> Generator[str]:
    """The name of a schema with empty tables. Only this test uses it, and others after it."""
    with _schema_pool.schema() as name:
        yield name


@pytest.fixture(scope="session")
def _fragile_postgresql() -> Generator[PostgreSQL]:
    yield from _start()


@pytest.fixture
def own_postgresql(_fragile_postgresql: PostgreSQL) -> Generator[PostgreSQL]:
    """A server that only this test uses, to be killed and restarted. The next test gets it empty."""
    yield _fragile_postgresql
    _fragile_postgresql.reset()
