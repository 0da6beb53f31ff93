"""Connections of drivers: what is refused, and where rows are stored."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg import ClientCursor

from starlette_webhooks import Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.emitter import Emitter
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.outbox.drivers import database_of_asyncpg
from starlette_webhooks.settings import WebhooksSettings

ALONE = "is in autocommit mode"


def emitter_into(outbox: Outbox) -> Emitter:
    webhooks = Webhooks(event_types=["order.created"], backend=MemoryBackend(WebhooksSettings()), outbox=outbox)
    return webhooks.emitter("acme")


class Public:
    """A connection of asyncpg without its private names, which a later version may not have."""

    def __init__(self, connection: Any) -> None:
        self.fetchval = connection.fetchval


@pytest.fixture
def path(tmp_path: Path) -> Path:
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    Outbox(engine).metadata.create_all(engine)
    engine.dispose()
    return tmp_path / "host.db"


@pytest.fixture
def outbox(postgresql_url: str, postgresql_schema: str) -> Outbox:
    """An outbox on PostgreSQL."""
    from sqlalchemy import create_engine

    engine = create_engine(postgresql_url.replace("postgresql://", "postgresql+psycopg://"))
    outbox = Outbox(engine, schema=postgresql_schema)
    outbox.metadata.create_all(engine)
    engine.dispose()
    return Outbox(postgresql_url, schema=postgresql_schema)


def test_sqlite_needs_a_transaction(path: Path) -> None:
    emitter = emitter_into(Outbox(f"sqlite:///{path}"))
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(RuntimeError, match=ALONE):
        emitter.emit("order.created", within=connection)
    connection.execute("BEGIN")
    emitter.emit_many([("order.created", {})] * 6000, within=connection)
    assert connection.execute("SELECT count(*) FROM webhooks_outbox").fetchone() == (6000,)
    connection.execute("ROLLBACK")
    connection.close()


def test_a_row_of_a_driver_is_announced_before_its_commit(path: Path) -> None:
    outbox = Outbox(f"sqlite:///{path}")
    announced: list[bool] = []
    outbox.listeners.append(announced.append)
    connection = sqlite3.connect(path)
    emitter_into(outbox).emit("order.created", within=connection)
    connection.commit()
    connection.close()
    assert announced == [False], "the driver tells nobody of its commit, so one is only expected"


def test_a_file_of_another_name_is_the_same_database(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    connection = sqlite3.connect(link)
    emitter_into(Outbox(f"sqlite:///{path}")).emit("order.created", within=connection)
    connection.close()


def test_another_file_is_refused(path: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other.db")
    with pytest.raises(RuntimeError, match="and the outbox is in the SQLite file"):
        emitter_into(Outbox(f"sqlite:///{path}")).emit("order.created", within=connection)
    with pytest.raises(RuntimeError, match="is a connection to sqlite"):
        emitter_into(Outbox("postgresql://tester@localhost/host")).emit("order.created", within=connection)
    connection.close()


@pytest.mark.parametrize("cursors", ["of the server", "of the client"])
def test_psycopg_needs_a_transaction(outbox: Outbox, cursors: str) -> None:
    emitter = emitter_into(outbox)
    assert outbox.url is not None
    table = outbox.names.quoted(outbox.names.name)
    with psycopg.connect(outbox.url, autocommit=True) as connection:
        if cursors == "of the client":
            connection.cursor_factory = ClientCursor
        with pytest.raises(RuntimeError, match=ALONE):
            emitter.emit("order.created", within=connection)
        with connection.transaction(), connection.transaction() as inner:
            emitter.emit("order.created", within=connection)
            raise psycopg.Rollback(inner)
        # Independent of the `search_path`.
        with connection.transaction():
            connection.execute("SET LOCAL search_path TO pg_temp")
            many = emitter.emit_many([("order.created", {})] * 3, within=connection)
        rows = connection.execute(f"SELECT id FROM {table} ORDER BY created_at, id").fetchall()
    assert [id for (id,) in rows] == [event.id for event in many.events]
    with psycopg.connect(outbox.url, dbname="template1") as other:
        with pytest.raises(RuntimeError, match="leads to the database 'template1'"):
            emitter.emit("order.created", within=other)


async def test_async_connections_are_awaited_and_need_a_transaction(outbox: Outbox) -> None:
    emitter = emitter_into(outbox)
    connection = await psycopg.AsyncConnection.connect(outbox.url or "", autocommit=True)
    async with connection:
        with pytest.raises(TypeError, match="must be awaited"):
            emitter.emit("order.created", within=connection)
        with pytest.raises(RuntimeError, match=ALONE):
            await emitter.send("order.created", within=connection)


async def test_asyncpg_needs_a_transaction_also_by_its_pool(outbox: Outbox) -> None:
    emitter = emitter_into(outbox)
    table = outbox.names.quoted(outbox.names.name)
    async with asyncpg.create_pool(outbox.url, min_size=1, max_size=1) as pool:
        with pytest.raises(TypeError, match=r"pool.acquire\(\)"):
            await emitter.send("order.created", within=pool)
        async with pool.acquire() as connection:
            with pytest.raises(TypeError, match="must be awaited"):
                emitter.emit("order.created", within=connection)
            with pytest.raises(RuntimeError, match=ALONE):
                await emitter.send("order.created", within=connection)
            async with connection.transaction():
                sent = await emitter.send_many([("order.created", {})] * 3, within=connection)
            rows = await connection.fetch(f"SELECT id FROM {table} ORDER BY created_at, id")
            assert await database_of_asyncpg(Public(connection)) == "postgres"
    assert [row["id"] for row in rows] == [event.id for event in sent]


async def test_asyncpg_with_another_database_is_refused_and_its_transaction_continues(outbox: Outbox) -> None:
    connection = await asyncpg.connect(outbox.url, database="template1")
    async with connection.transaction():
        with pytest.raises(RuntimeError, match=r"leads to the database 'template1'.*Outbox\(url, engine\)"):
            await emitter_into(outbox).send("order.created", within=connection)
        assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
