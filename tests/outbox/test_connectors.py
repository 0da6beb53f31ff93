"""Connections of the relay: closed without ever having been opened, and after a statement that failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import StaticPool, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.outbox.connectors import connect
from starlette_webhooks.outbox.places import place_of_url


async def test_a_transaction_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'host.db'}"
    connector = connect(url, place_of_url(url))
    await connector.run(("CREATE TABLE notes (text)", {}))
    insert = ("INSERT INTO notes VALUES (:text)", {"text": "a"})
    with pytest.raises(BackendUnavailable, match="no such table"):
        await connector.run(insert, ("INSERT INTO missing VALUES (1)", {}))
    await connector.run(insert, insert)
    assert await connector.run(("SELECT count(*) FROM notes", {})) == [(2,)]
    await connector.close()


async def test_an_engine_that_was_never_used_is_closed(tmp_path: Path) -> None:
    memory, file = "sqlite://", f"sqlite:///{tmp_path / 'host.db'}"
    for url in (memory, file):
        engine = create_engine(url, poolclass=StaticPool)
        await connect(engine, place_of_url(url)).close()
        engine.dispose()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # SQLAlchemy's async engines run on no other.
async def test_an_async_engine_that_was_never_used_is_closed(tmp_path: Path) -> None:
    for url in ("sqlite://", f"sqlite:///{tmp_path / 'host.db'}"):
        engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"))
        await connect(engine, place_of_url(url)).close()
        await engine.dispose()
