"""Files of earlier versions are migrated, and work like new ones."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from starlette_webhooks.stores.sqlite.queries import read_sql
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.stores.contract import attempts, claim, due, emit, ids, record, recover

HERE = Path(__file__).parent
DAY = 86_400_000


@pytest.fixture
def version_1(tmp_path: Path) -> Generator[sqlite3.Connection]:
    """A file of version 1, with an endpoint that waits for its receiver, and two deliveries."""
    with closing(sqlite3.connect(tmp_path / "webhooks.db", isolation_level=None)) as db:
        db.executescript((HERE / "schema_1.sql").read_text() + "PRAGMA user_version = 1;")
        now = int(time.time() * 1000)
        db.execute(
            "INSERT INTO endpoint VALUES (1, 'ep_1', 'acme', 'https://example.com/', '', '[]', '[]', NULL, NULL, '{}', "
            "'{}', ?, ?, NULL, ?)",
            (now, now, now + 60_000),
        )
        db.execute("INSERT INTO endpoint_secret VALUES (1, ?, 'whsec_1', NULL)", (now,))
        db.execute("INSERT INTO subscription VALUES ('acme', '', '', 1)")
        for number, type in ((1, "invoice.paid"), (2, "test.ping")):
            db.execute(
                "INSERT INTO event VALUES (?, ?, 'acme', ?, ?, NULL, NULL, '{}')",
                (number, f"msg_00000000000000000000000000{number}", type, now),
            )
        # Leased by a process of the old version that was stopped for the upgrade.
        db.execute("INSERT INTO delivery VALUES (1, 1, 1, ?, 1, 0, 'scheduled')", (now + 25_000,))
        db.execute("INSERT INTO delivery VALUES (2, 2, 1, ?, 0, 0, 'test')", (now,))
        yield db


def schema(db: sqlite3.Connection) -> dict[str, Any]:
    """Return the tables with their columns, and the indexes."""
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    columns = {table: db.execute(f"PRAGMA table_xinfo({table})").fetchall() for table in tables}
    indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL ORDER BY 1")
    return {**columns, "indexes": [(name, " ".join(sql.split())) for name, sql in indexes]}


async def test_a_file_of_version_1_gets_the_schema_of_a_new_one(version_1: sqlite3.Connection, tmp_path: Path) -> None:
    async with SQLiteStore(str(tmp_path / "webhooks.db")).lifespan():
        pass
    with closing(sqlite3.connect(":memory:")) as new:
        new.executescript(read_sql("schema.sql"))
        assert schema(version_1) == schema(new)


async def test_what_a_file_of_version_1_holds_is_delivered(version_1: sqlite3.Connection, tmp_path: Path) -> None:
    store = SQLiteStore(str(tmp_path / "webhooks.db"), clock=lambda: time.time() + 120)
    async with store.lifespan():
        assert set(await due(store)) == {1}
        deliveries = (await claim(store)).deliveries
        assert [(one.event, one.number, one.trigger) for one in deliveries] == [(1, 2, "scheduled"), (2, 1, "test")]
        for one in deliveries:
            await record(store, one)
        assert len(await attempts(store)) == 2
        await emit(store)
        assert len(await ids(store)) == 3


async def test_a_pause_that_a_receiver_asked_for_survives_the_upgrade(
    version_1: sqlite3.Connection, tmp_path: Path
) -> None:
    store = SQLiteStore(str(tmp_path / "webhooks.db"))
    async with store.lifespan():
        assert (await claim(store, 1)).deliveries == []
        ((_, at),) = (await due(store, within=DAY)).items()
        assert at > store.now() + 30_000


async def test_tests_of_version_1_are_not_recovered(version_1: sqlite3.Connection, tmp_path: Path) -> None:
    version_1.execute("DELETE FROM delivery")
    store = SQLiteStore(str(tmp_path / "webhooks.db"))
    async with store.lifespan():
        endpoint = await store.get_endpoint("acme", "ep_1")
        assert endpoint is not None
        assert await store.get_event("acme", "msg_000000000000000000000000001") is not None
        assert await recover(store, endpoint, since=20 * 365 * DAY, missing=True) == 1
