"""The stores that the contract suite runs over. A store for another database joins with one more parameter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from starlette_webhooks.stores.base import Store
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.clock import Clock
from tests.stores.contract import MakeStore

OpenStore: TypeAlias = Callable[..., Store]


@pytest.fixture
def clock() -> Clock:
    """The clock of all stores of a test."""
    return Clock()


@pytest.fixture(params=["sqlite", "memory", "postgresql"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> MakeStore:
    """Makes a store. All of them use the same database, like the processes of a host."""
    if request.param == "postgresql":
        return _on_postgresql(request, clock)
    path = ":memory:" if request.param == "memory" else str(tmp_path / "webhooks.db")
    return lambda: SQLiteStore(path, clock=clock)


@pytest.fixture(params=["sqlite", "postgresql"])
def make_shared_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> MakeStore:
    """Like `make_store`, for tests with several processes. A store in memory belongs to one process."""
    if request.param == "postgresql":
        return _on_postgresql(request, clock)
    return lambda: SQLiteStore(str(tmp_path / "webhooks.db"), clock=clock)


def _on_postgresql(request: pytest.FixtureRequest, clock: Clock) -> MakeStore:
    url: str = request.getfixturevalue("postgresql_url")
    schema: str = request.getfixturevalue("migrated_schema")

    return lambda: PostgreSQLStore(url, schema=schema, clock=clock)


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """The database of this test."""
    found: str = request.param
    return found


@pytest.fixture
def open_store(request: pytest.FixtureRequest, dialect: str, tmp_path: Path) -> OpenStore:
    """Makes a store with options. All of them use the same database."""
    if dialect == "sqlite":
        return lambda **options: SQLiteStore(str(tmp_path / "webhooks.db"), **options)
    url: str = request.getfixturevalue("postgresql_url")
    schema: str = request.getfixturevalue("postgresql_schema")
    return lambda **options: PostgreSQLStore(url, schema=schema, **options)
