"""Another server of PostgreSQL, with a database of the same name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine

from starlette_webhooks import Webhooks
from starlette_webhooks.emitter import Emitter
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.outbox.drain import Drain
from tests.outbox.test_drivers import emitter_into
from tests.postgresql import PostgreSQL
from tests.stores.postgresql.process import working_backend

Write: TypeAlias = Callable[[Emitter, str], Awaitable[None]]


async def by_psycopg(emitter: Emitter, url: str) -> None:
    with psycopg.connect(url) as connection:
        try:
            emitter.emit("order.created", within=connection)
        finally:
            # Its transaction goes on, also after an error.
            connection.execute("SELECT 1")


async def by_async_psycopg(emitter: Emitter, url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        try:
            await emitter.send("order.created", within=connection)
        finally:
            await connection.execute("SELECT 1")


async def by_asyncpg(emitter: Emitter, url: str) -> None:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        async with connection.transaction():
            try:
                await emitter.send("order.created", within=connection)
            finally:
                await connection.execute("SELECT 1")


def engine_of(url: str) -> Any:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


def create_tables(url: str, schema: str) -> None:
    engine = engine_of(url)
    Outbox(engine, schema=schema).metadata.create_all(engine)
    engine.dispose()


def rows(url: str, schema: str) -> int:
    with psycopg.connect(url) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {schema}.outbox").fetchone() or (-1,)
    return int(count)


@pytest.mark.parametrize("write", [by_psycopg, by_async_psycopg, by_asyncpg])
async def test_another_server_with_a_database_of_the_same_name_is_refused(
    write: Write, own_postgresql: PostgreSQL, postgresql_url: str, postgresql_schema: str
) -> None:
    for url in (own_postgresql.url, postgresql_url):
        create_tables(url, postgresql_schema)
    outbox = Outbox(postgresql_url, schema=postgresql_schema)
    drain = Drain(outbox)
    await drain.check()
    await drain.close()
    emitter = emitter_into(outbox)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="another server than that of the outbox"):
            await write(emitter, own_postgresql.url)
    for _ in range(2):
        await write(emitter, postgresql_url)
    assert (rows(own_postgresql.url, postgresql_schema), rows(postgresql_url, postgresql_schema)) == (0, 2)
    own_postgresql.execute(f"DROP SCHEMA {postgresql_schema} CASCADE")


async def test_the_outbox_of_the_backend_knows_its_server(
    own_postgresql: PostgreSQL, postgresql_url: str, postgresql_schema: str
) -> None:
    create_tables(own_postgresql.url, postgresql_schema)
    backend = working_backend(postgresql_url, postgresql_schema)
    async with backend.lifespan(EventTypes()):
        emitter = Webhooks(event_types=["order.created"], backend=backend).emitter("acme")
        with pytest.raises(RuntimeError, match="another server than that of the outbox"):
            await by_psycopg(emitter, own_postgresql.url)
    own_postgresql.execute(f"DROP SCHEMA {postgresql_schema} CASCADE")


async def test_engines_of_different_servers_are_refused_at_startup(
    own_postgresql: PostgreSQL, postgresql_url: str, postgresql_schema: str
) -> None:
    create_tables(postgresql_url, postgresql_schema)
    create_tables(own_postgresql.url, postgresql_schema)
    engines = [engine_of(url) for url in (postgresql_url, own_postgresql.url)]
    drain = Drain(Outbox(*engines, schema=postgresql_schema))
    with pytest.raises(RuntimeError, match="lead to different servers"):
        await drain.check()
    await drain.close()
    for engine in engines:
        engine.dispose()
    own_postgresql.execute(f"DROP SCHEMA {postgresql_schema} CASCADE")


async def test_without_the_privilege_to_identify_the_server_events_are_written_all_the_same(
    own_postgresql: PostgreSQL, postgresql_schema: str
) -> None:
    own_postgresql.execute(
        "CREATE ROLE app LOGIN PASSWORD 'app'",
        "GRANT CREATE ON DATABASE postgres TO app",
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
    )
    url = own_postgresql.url.replace("tester:secret-of-tests", "app:app")
    create_tables(url, postgresql_schema)
    outbox = Outbox(url, schema=postgresql_schema)
    drain = Drain(outbox)
    await drain.check()
    await drain.close()
    backend = working_backend(url, postgresql_schema)
    async with backend.lifespan(EventTypes()):
        assert backend.health()["status"] == "ok"
        await by_psycopg(Webhooks(event_types=["order.created"], backend=backend).emitter("acme"), url)
    await by_psycopg(emitter_into(outbox), url)
    assert rows(url, postgresql_schema) > 0
    own_postgresql.execute(
        "GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC",
        "DROP OWNED BY app CASCADE",
        "DROP ROLE app",
    )
