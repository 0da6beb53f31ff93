"""Secrets encrypted at rest, on the backends that keep them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TypeAlias

import psycopg
import pytest
from standardwebhooks import Webhook

from starlette_webhooks.backends.postgresql import PostgreSQLBackend
from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.backends.stored import StoredBackend
from starlette_webhooks.backends.svix.move import read_endpoints
from starlette_webhooks.encryption import CannotDecrypt, SecretBox
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.exceptions import Conflict
from starlette_webhooks.operations import EndpointQuery
from tests.backends.contract.support import KEY, Ear, attempted, create, send
from tests.eventually import eventually
from tests.settings import make_settings
from tests.wire import listening

OLD, NEW = "o" * 32, "n" * 32
HEADERS = {"X-Api-Key": "s3cret-value"}
OTHER_KEY = "whsec_OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"

MakeKeyed: TypeAlias = Callable[[str | None], StoredBackend]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A SQLite file, or the URL of a PostgreSQL schema for this test."""
    if request.param == "sqlite":
        return str(tmp_path / "webhooks.db")
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def make_keyed(database: str, request: pytest.FixtureRequest) -> MakeKeyed:
    """Makes a backend with these encryption keys, each time over the same database."""

    def make(keys: str | None) -> StoredBackend:
        if not database.startswith("postgres"):
            return SQLiteBackend(make_settings(database=database, encryption_key=keys))
        schema: str = request.getfixturevalue("migrated_schema")
        return PostgreSQLBackend(make_settings(database=database, database_schema=schema, encryption_key=keys))

    return make


@asynccontextmanager
async def opened(backend: StoredBackend) -> AsyncGenerator[StoredBackend]:
    backend.listen(Ear())
    async with backend.lifespan(EventTypes()):
        yield backend


def stored(database: str, schema: str) -> str:
    """Everything that the tables hold of secrets and headers."""
    queries = (
        "SELECT key FROM {}endpoint_secret ORDER BY created_at",
        "SELECT headers FROM {}endpoint",
        "SELECT value FROM {}meta",
    )
    if database.startswith("postgres"):
        with psycopg.connect(database) as connection:
            return str([connection.execute(query.format(f"{schema}.")).fetchall() for query in queries])
    with closing(sqlite3.connect(database)) as connection:
        return str([connection.execute(query.format("")).fetchall() for query in queries])


@pytest.fixture
def read_stored(database: str, request: pytest.FixtureRequest) -> Callable[[], str]:
    """Reads what the tables hold."""
    schema = request.getfixturevalue("migrated_schema") if database.startswith("postgres") else ""
    return lambda: stored(database, schema)


async def test_secrets_and_headers_are_unreadable_in_the_database_and_still_work(
    make_keyed: MakeKeyed, read_stored: Callable[[], str]
) -> None:
    async with opened(make_keyed(NEW)) as backend:
        keys = await backend.secret_keys()
        made = await create(backend, headers=HEADERS, secret=KEY)
        assert made.headers == HEADERS
        found = await backend.get_endpoint("acme", made.id)
        assert found is not None
        assert found.headers == HEADERS
        assert (await backend.list_endpoints("acme", limit=1, cursor=None)).items[0].headers == HEADERS
        (status,) = (await backend.find_endpoints(EndpointQuery())).items
        assert status.document()["headers"] == list(HEADERS)
        assert await backend.get_secret("acme", made.id) == KEY
        with pytest.raises(Conflict) as conflict:
            await backend.rotate_secret("acme", made.id, KEY)
        assert conflict.value.code == "same_secret"
        assert await backend.rotate_secret("acme", made.id, OTHER_KEY) == OTHER_KEY
        assert await backend.get_secret("acme", made.id) == OTHER_KEY
        changed = await backend.update_endpoint("acme", made.id, EndpointChanges(headers={"X-Other": "n3w"}))
        assert changed is not None
        assert changed.headers == {"X-Other": "n3w"}
        text = read_stored()
        for secret in (KEY, OTHER_KEY, "s3cret-value", "n3w", "X-Other", repr(keys[0])):
            assert secret not in text
    async with opened(make_keyed(NEW)) as backend:
        assert await backend.secret_keys() == keys


async def test_deliveries_carry_the_headers_and_every_valid_signature(make_keyed: MakeKeyed) -> None:
    async with listening() as seen, opened(make_keyed(NEW)) as backend:
        endpoint = await create(backend, url=seen.url(), headers=HEADERS, secret=KEY)
        await backend.rotate_secret("acme", endpoint.id, OTHER_KEY)
        await send(backend)
        await attempted(backend, 1)
        (request,) = seen.requests
        headers = {name.decode(): value.decode() for name, value in request.headers.items()}
        assert headers["x-api-key"] == "s3cret-value"
        for key in (KEY, OTHER_KEY):
            Webhook(key).verify(request.body, headers)


async def test_keys_are_introduced_and_replaced_while_secrets_stay_as_they_are(
    make_keyed: MakeKeyed, read_stored: Callable[[], str]
) -> None:
    async with opened(make_keyed(None)) as backend:
        plain = await create(backend, headers=HEADERS, secret=KEY)
        keys = await backend.secret_keys()
        assert await backend.reencrypt() == 0
        assert KEY in read_stored()
    for given in (OLD, f"{NEW},{OLD}"):
        async with opened(make_keyed(given)) as backend:
            await create(backend, "globex")
            assert await backend.reencrypt() >= 1
            assert await backend.reencrypt() == 0
            assert KEY not in read_stored()
    async with opened(make_keyed(NEW)) as backend:
        assert await backend.get_secret("acme", plain.id) == KEY
        found = await backend.get_endpoint("acme", plain.id)
        assert found is not None
        assert found.headers == HEADERS
        assert await backend.secret_keys() == keys


async def test_a_process_without_the_key_does_not_start(make_keyed: MakeKeyed) -> None:
    async with opened(make_keyed(OLD)) as backend:
        await create(backend)
    for keys in (None, NEW):
        with pytest.raises(CannotDecrypt, match="WEBHOOKS_ENCRYPTION_KEY"):
            async with opened(make_keyed(keys)):
                pass


async def test_an_unreadable_secret_blocks_only_its_own_endpoint(
    make_keyed: MakeKeyed, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as seen, opened(make_keyed(NEW)) as backend:
        broken = await create(backend, url=seen.url())
        await backend.store.rotate_secret("acme", broken.id, SecretBox([NEW.encode()]).seal_secret(KEY, "globex"))
        whole = await create(backend, url=seen.url())
        await send(backend)
        await attempted(backend, 1, endpoint_id=whole.id)
        await eventually(lambda: broken.id in caplog.text)
        assert len(seen.requests) == 1
        assert KEY not in caplog.text


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_endpoints_are_copied_to_svix_in_plain(make_keyed: MakeKeyed, database: str) -> None:
    async with opened(make_keyed(NEW)) as backend:
        await create(backend, headers=HEADERS, secret=KEY)
    ((endpoint, secret),) = read_endpoints(database, SecretBox([NEW.encode()]))
    assert (endpoint.headers, secret) == (HEADERS, KEY)
    with pytest.raises(CannotDecrypt):
        read_endpoints(database)
