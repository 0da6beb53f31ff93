"""The schemas that tests use one after another."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from tests.postgresql import PostgreSQL
from tests.schema_pool import SchemaPool
from tests.stores.contract import add, claim, emit, record

COLUMNS = """
SELECT relname, CASE relkind WHEN 'r' THEN '*' ELSE 'last_value, is_called' END
FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'S')
"""


@pytest.fixture
def postgresql_url(own_postgresql: PostgreSQL) -> str:
    """The URL of a server without sessions of other tests."""
    return own_postgresql.url


@pytest.fixture
def pool(postgresql_url: str) -> Iterator[SchemaPool]:
    pool = SchemaPool(postgresql_url)
    yield pool
    pool.close()


def contents(url: str, schema: str) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables and sequences, without the times of the migrations."""
    with psycopg.connect(url) as connection:
        found = {
            name: connection.execute(f"SELECT {columns} FROM {schema}.{name}").fetchall()
            for name, columns in connection.execute(COLUMNS, (schema,)).fetchall()
        }
    found["migration"] = [row[:2] for row in found["migration"]]
    return found


async def use(url: str, schema: str) -> None:
    store = PostgreSQLStore(url, schema=schema)
    async with store.lifespan():
        await add(store)
        await emit(store)
        (leased,) = (await claim(store)).deliveries
        await record(store, leased)


async def test_the_next_test_gets_the_schema_as_if_it_were_new(pool: SchemaPool, postgresql_url: str) -> None:
    with pool.schema() as first:
        new = contents(postgresql_url, first)
        await use(postgresql_url, first)
        used = contents(postgresql_url, first)
    assert {"event", "event_seq", "endpoint", "attempt"} <= {name for name in new if new[name] != used[name]}
    with pool.schema() as second:
        assert second == first
        assert contents(postgresql_url, second) == new
        await use(postgresql_url, second)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX ON {}.event (type)",
        "ALTER TABLE {}.event ADD COLUMN extra text",
        "ALTER TABLE {}.event SET (autovacuum_enabled = off)",
        "ALTER TABLE {}.event ALTER COLUMN tenant SET DEFAULT 'acme'",
        "ALTER TABLE {}.delivery ADD CHECK (attempt < 100)",
        "CREATE VIEW {}.view AS SELECT 1",
        "CREATE OR REPLACE FUNCTION {}.lock_log_1() RETURNS void LANGUAGE sql AS ''",
        "GRANT SELECT ON {}.event TO PUBLIC",
        "GRANT USAGE ON SCHEMA {} TO PUBLIC",
        "DROP SCHEMA {} CASCADE",
    ],
)
def test_a_schema_is_dropped_after_a_test_that_changed_it(
    pool: SchemaPool, postgresql_url: str, statement: str
) -> None:
    with pool.schema() as first, psycopg.connect(postgresql_url) as connection:
        connection.execute(statement.format(first))
    with psycopg.connect(postgresql_url) as connection:
        assert connection.execute("SELECT to_regnamespace(%s)", (first,)).fetchone() == (None,)


def test_a_schema_is_dropped_if_a_session_of_its_test_is_left(pool: SchemaPool, postgresql_url: str) -> None:
    with psycopg.connect(postgresql_url) as left:
        with pool.schema() as first:
            pass
        with pool.schema() as second:
            left.execute(f"SELECT FROM {second}.event")
            left.commit()
            assert second == first
            began_meanwhile = psycopg.connect(postgresql_url)
    with began_meanwhile:
        assert began_meanwhile.execute("SELECT to_regnamespace(%s)", (first,)).fetchone() == (None,)
