"""A dump that is restored into another database continues there, if allowed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.stores.administrations import administration_of
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from tests.postgresql import find_binaries
from tests.settings import make_settings
from tests.stores.contract import add, claim, due, emit, ids, record


def program(name: str) -> str:
    """A program of PostgreSQL."""
    binaries = find_binaries()
    found = shutil.which(name, path=None if binaries is None else str(binaries)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian's package `postgresql-client`).")
    return found


@pytest.fixture
def other_database(postgresql_url: str) -> Generator[str]:
    """The URL of an empty database on the same server, for a staging environment."""
    name = f"staging_{uuid4().hex[:8]}"
    with psycopg.connect(postgresql_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield urlunsplit(urlsplit(postgresql_url)._replace(path=f"/{name}"))
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def staging(other_database: str, postgresql_schema: str) -> WebhooksSettings:
    """The settings of the other database."""
    return make_settings(database=other_database, database_schema=postgresql_schema)


def restore(source: str, target: str, schema: str, directory: Path) -> None:
    """Dump a schema and restore it with the commands of the documentation."""
    dump = directory / "webhooks.dump"
    with dump.open("wb") as file:
        command = [program("pg_dump"), f"--schema={schema}", "--format=custom", source]
        subprocess.run(command, stdout=file, check=True)
    command = [program("pg_restore"), "--clean", "--if-exists", "--single-transaction", f"--dbname={target}", str(dump)]
    # The second restore overwrites the first.
    for _ in range(2):
        subprocess.run(command, check=True)


@pytest.mark.slow  # A database is made, dumped and restored.
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # The programs of PostgreSQL use no event loop.
async def test_a_restored_dump_continues_and_is_refused_in_another_environment(
    postgresql_url: str, postgresql_schema: str, staging: WebhooksSettings, tmp_path: Path
) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema, environment="production")
    async with store.lifespan():
        endpoint = await add(store)
        events = [await emit(store, event_id=f"order-{number}") for number in range(3)]
        await record(store, (await claim(store, each=1)).deliveries[0])
    restore(postgresql_url, staging.database, postgresql_schema, tmp_path)

    with pytest.raises(BackendUnavailable, match="belongs to the environment 'production'"):
        async with PostgreSQLStore(staging.database, schema=postgresql_schema, environment="staging").lifespan():
            pass

    # Another server of production.
    copy = PostgreSQLStore(staging.database, schema=postgresql_schema, environment="production")
    async with copy.lifespan():
        assert (await emit(copy, event_id="order-0")).id == events[0].id
        assert len((await claim(copy)).deliveries) == 2
        new = await emit(copy)
        assert await ids(copy) == [new.id, *[event.id for event in reversed(events)]]

    # Staging, after `adopt`.
    adopted = administration_of(staging).adopt("staging", keep=False)
    assert (adopted.endpoints, adopted.deliveries) == (1, 3)
    copy = PostgreSQLStore(staging.database, schema=postgresql_schema, environment="staging")
    async with copy.lifespan():
        found = await copy.get_endpoint("acme", endpoint.id)
        assert found is not None
        assert found.disabled
        await emit(copy)
        assert await due(copy) == {}
