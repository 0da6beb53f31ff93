"""Deleted secrets do not stay in the file, or in the files beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.stores.sqlite import endpoints, secrets
from starlette_webhooks.stores.sqlite.database import Database
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.eventually import eventually

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
HEADERS = {"X-Api-Key": "s3cret-value"}
CHANGES = EndpointChanges(url="https://example.com/", headers=HEADERS, secret=SECRET)


def on_disk(path: Path) -> bytes:
    return b"".join(Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal"))


def shows(path: Path, *secrets: str) -> Callable[[], bool]:
    return lambda: any(secret.encode() in on_disk(path) for secret in secrets)


async def test_a_deleted_secret_is_gone_from_the_file_and_its_wal(tmp_path: Path) -> None:
    path = tmp_path / "webhooks.db"
    database = Database(str(path), watch_every=0.02)
    async with database.lifespan():
        create = partial(endpoints.create_endpoint, tenant="acme", changes=CHANGES, now=1, limit=9)
        made = await database.write(create)
        assert shows(path, SECRET)()
        await database.write(partial(endpoints.delete_endpoint, tenant="acme", identifier=made.id))
        # Without scrubbing, it would stay.
        assert shows(path, SECRET)()
        database.scrub_soon()
        await eventually(lambda: not shows(path, SECRET, HEADERS["X-Api-Key"])())


async def test_a_reader_delays_scrubbing_and_no_write(tmp_path: Path) -> None:
    path = tmp_path / "webhooks.db"
    database = Database(str(path), watch_every=0.02, busy_seconds=30)
    async with database.lifespan():
        create = partial(endpoints.create_endpoint, tenant="acme", changes=CHANGES, now=1, limit=9)
        made = await database.write(create)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT key FROM endpoint_secret").fetchall() == [(SECRET,)]
            await database.write(partial(endpoints.delete_endpoint, tenant="acme", identifier=made.id))
            database.scrub_soon()
            for _ in range(20):
                await database.write(lambda connection: None)
            assert shows(path, SECRET)()
        await eventually(lambda: not shows(path, SECRET)())


async def test_replaced_headers_and_expired_secrets_are_gone_within_seconds(tmp_path: Path) -> None:
    path = tmp_path / "webhooks.db"
    now = 1_000_000.0
    store = SQLiteStore(str(path), clock=lambda: now)
    async with store.lifespan():
        made = await store.create_endpoint("acme", CHANGES, limit=9)
        await store.update_endpoint("acme", made.id, EndpointChanges(headers={}))
        await store.rotate_secret("acme", made.id, "whsec_" + "A" * 32)
        now += 2 * 86_400
        await store.prune(made.created_at)
        assert [row.keys for row in await store.stored_secrets(0, 9)] == [["whsec_" + "A" * 32]]
        await eventually(lambda: not shows(path, SECRET, HEADERS["X-Api-Key"])())


async def test_a_secret_replaced_without_an_overlap_is_gone_within_seconds(tmp_path: Path) -> None:
    path = tmp_path / "webhooks.db"
    store = SQLiteStore(str(path), clock=lambda: 1_000_000.0)
    async with store.lifespan():
        made = await store.create_endpoint("acme", CHANGES, limit=9)
        await store.rotate_secret("acme", made.id, "whsec_" + "A" * 32, overlap=0)
        assert [row.keys for row in await store.stored_secrets(0, 9)] == [["whsec_" + "A" * 32]]
        await eventually(lambda: not shows(path, SECRET)())


def test_overrides_last_only_for_the_block(tmp_path: Path) -> None:
    path = tmp_path / "plain.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Some systems have it on by default.
        connection.execute("PRAGMA secure_delete = 0")
        connection.execute("CREATE TABLE t (a TEXT, b TEXT)")
        connection.execute("INSERT INTO t VALUES ('first-secret', ''), ('second-secret', '')")
        with secrets.overwriting(connection):
            connection.execute("DELETE FROM t WHERE a = 'first-secret'")
        connection.execute("DELETE FROM t")
        assert connection.execute("PRAGMA secure_delete").fetchone() == (0,)
    assert b"first-secret" not in path.read_bytes()
    assert b"second-secret" in path.read_bytes()
