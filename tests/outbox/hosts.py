"""Hosts of several kinds: each writes an order and emits within the same transaction, in its own way."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlmodel import Session as SQLModelSession

from starlette_webhooks.emitter import Emitter
from starlette_webhooks.outbox import Outbox

__all__ = ["KINDS", "POSTGRESQL", "SQLITE", "Host", "Rejected", "opening"]

SQLITE = ("sqlite3", "session", "sqlmodel", "core", "aiosqlite session", "aiosqlite core")
POSTGRESQL = (
    "psycopg",
    "async psycopg",
    "asyncpg",
    "psycopg session",
    "psycopg core",
    "psycopg async session",
    "asyncpg session",
    "asyncpg core",
)
KINDS = (*SQLITE, *POSTGRESQL)
_INSERT = "INSERT INTO orders (sku) VALUES ('{sku}')"


class Rejected(Exception):
    """Raised to roll back a transaction."""


@dataclass
class Host:
    """A host with a database.

    Attributes:
        place: Runs statements outside of all transactions of the host.
        transaction: Enters a transaction; yields an order-and-emit function. It commits at the end of the block.
    """

    outbox: Outbox
    read: Callable[[str], list[tuple[Any, ...]]]
    transaction: Callable[[], Any]

    def orders(self) -> list[str]:
        return [sku for (sku,) in self.read("SELECT sku FROM orders ORDER BY sku")]

    def rows(self) -> list[str]:
        """The ids in the outbox."""
        names = self.outbox.names
        return [id for (id,) in self.read(f"SELECT id FROM {names.quoted(names.name)} ORDER BY created_at, id")]


Order = Callable[[Emitter, str], Awaitable[Any]]


@asynccontextmanager
async def opening(kind: str, directory: Path, postgresql_url: str | None) -> AsyncIterator[Host]:
    """A host of that kind, with empty tables."""
    if kind in SQLITE:
        async with _sqlite(kind, directory / "host.db") as host:
            yield host
    else:
        assert postgresql_url is not None
        async with _postgresql(kind, postgresql_url) as host:
            yield host


@asynccontextmanager
async def _sqlite(kind: str, path: Path) -> AsyncIterator[Host]:
    sync = create_engine(f"sqlite:///{path}")
    with sync.begin() as connection:
        connection.execute(text("CREATE TABLE orders (sku TEXT)"))
    Outbox(sync).metadata.create_all(sync)

    def read(statement: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(path) as connection:
            rows = connection.execute(statement).fetchall()
        connection.close()
        return rows

    engine: Any = sync
    if kind == "sqlite3":
        engine = f"sqlite:///{path}"
    elif "aiosqlite" in kind:
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    host = Host(Outbox(engine), read, None)  # type: ignore[arg-type]
    host.transaction = _transaction(kind, engine, lambda: sqlite3.connect(path))
    try:
        yield host
    finally:
        sync.dispose()
        if "aiosqlite" in kind:
            await engine.dispose()


@asynccontextmanager
async def _postgresql(kind: str, url: str) -> AsyncIterator[Host]:
    schema = f"host_{uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(f"CREATE TABLE {schema}.orders (sku text)")
    options = f"?options=-csearch_path%3D{schema}"

    def read(statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url + options, autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    alchemy = url.replace("postgresql://", "postgresql+psycopg://")
    sync = create_engine(alchemy)
    Outbox(sync, schema=f"{schema}_outbox").metadata.create_all(sync)
    sync.dispose()
    engine: Any = None
    if kind.startswith("asyncpg "):
        settings = {"server_settings": {"search_path": schema}}
        engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"), connect_args=settings)
    elif kind == "psycopg async session":
        engine = create_async_engine(alchemy + options)
    elif kind.startswith("psycopg "):
        engine = create_engine(alchemy + options)
    host = Host(Outbox(engine or url, schema=f"{schema}_outbox"), read, None)  # type: ignore[arg-type]
    connect: Any = {
        "psycopg": lambda: psycopg.connect(url + options),
        "async psycopg": lambda: psycopg.AsyncConnection.connect(url + options),
        "asyncpg": lambda: asyncpg.connect(url, server_settings={"search_path": schema}),
    }.get(kind)
    host.transaction = _transaction(kind, engine, connect)
    try:
        yield host
    finally:
        if engine is not None:
            disposed = engine.dispose()
            if disposed is not None:
                await disposed
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
            connection.execute(f"DROP SCHEMA {schema}_outbox CASCADE")


def _transaction(kind: str, engine: Any, connect: Any) -> Any:
    if kind in ("sqlite3", "psycopg"):
        return _sync_driver(connect)
    if kind in ("async psycopg", "asyncpg"):
        return _async_driver(kind, connect)
    if kind in ("session", "sqlmodel", "psycopg session"):
        return _sync_session(engine, SQLModelSession if kind == "sqlmodel" else Session)
    if kind in ("core", "psycopg core"):
        return _core(engine)
    return _async_session(engine) if kind.endswith("session") else _async_core(engine)


def _sync_driver(connect: Any) -> Any:
    @asynccontextmanager
    async def transaction() -> AsyncIterator[Order]:
        connection = connect()

        async def order(emitter: Emitter, sku: str) -> Any:
            connection.execute(_INSERT.format(sku=sku))
            return emitter.emit("order.created", {"sku": sku}, within=connection).event

        try:
            yield order
            connection.commit()
        finally:
            connection.close()

    return transaction


def _async_driver(kind: str, connect: Any) -> Any:
    @asynccontextmanager
    async def transaction() -> AsyncIterator[Order]:
        connection = await connect()

        async def order(emitter: Emitter, sku: str) -> Any:
            await connection.execute(_INSERT.format(sku=sku))
            return await emitter.send("order.created", {"sku": sku}, within=connection)

        try:
            async with connection.transaction():
                yield order
        finally:
            await connection.close()

    return transaction


def _sync_session(engine: Any, session_type: Any) -> Any:
    @asynccontextmanager
    async def transaction() -> AsyncIterator[Order]:
        with session_type(engine) as session:

            async def order(emitter: Emitter, sku: str) -> Any:
                session.execute(text(_INSERT.format(sku=sku)))
                return emitter.emit("order.created", {"sku": sku}, within=session).event

            yield order
            session.commit()

    return transaction


def _async_session(engine: Any) -> Any:
    @asynccontextmanager
    async def transaction() -> AsyncIterator[Order]:
        async with AsyncSession(engine) as session:

            async def order(emitter: Emitter, sku: str) -> Any:
                await session.execute(text(_INSERT.format(sku=sku)))
                return emitter.emit("order.created", {"sku": sku}, within=session).event

            yield order
            await session.commit()

    return transaction


def _core(engine: Any) -> Any:
    @asynccontextmanager
    async def transaction() -> AsyncIterator[Order]:
        with engine.connect() as connection:

            async def order(emitter: Emitter, sku: str) -> Any:
                connection.execute(text(_INSERT.format(sku=sku)))
                return emitter.emit("order.created", {"sku": sku}, within=connection).event

            yield order
            connection.commit()

    return transaction


def _async_core(engine: Any) -> Any:
    @asynccontextmanager
    async def transaction() -> AsyncIterator[Order]:
        async with engine.connect() as connection:

            async def order(emitter: Emitter, sku: str) -> Any:
                await connection.execute(text(_INSERT.format(sku=sku)))
                return await emitter.send("order.created", {"sku": sku}, within=connection)

            yield order
            await connection.commit()

    return transaction
