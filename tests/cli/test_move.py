"""Moving from a SQLite file to PostgreSQL: nothing is lost or duplicated, even after interruptions."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest

from starlette_webhooks.cli import main
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.feed import StreamFilter
from starlette_webhooks.payloads import new_event
from starlette_webhooks.stores.base import Store
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from starlette_webhooks.stores.sqlite.outbox import SQLiteOutbox
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.cli.running import popen, run
from tests.eventually import eventually
from tests.stores.contract import add, attempts, claim, emit, record

TENANTS = ("acme", "globex")
UNTIL = datetime.now(UTC) + timedelta(hours=1)
MoveCommand: TypeAlias = Callable[..., tuple[int, dict[str, Any]]]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def anyio_backend() -> str:
    """The command uses no event loop, and other tests run the stores on both."""
    return "asyncio"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file to move."""
    return tmp_path / "webhooks.db"


@pytest.fixture
def environment(postgresql_url: str, postgresql_schema: str) -> dict[str, str]:
    """The database to move to."""
    return {"WEBHOOKS_DATABASE": postgresql_url, "WEBHOOKS_DATABASE_SCHEMA": postgresql_schema}


@pytest.fixture
def make_target(postgresql_url: str, postgresql_schema: str) -> Callable[[], PostgreSQLStore]:
    """A store over the new database."""
    return lambda: PostgreSQLStore(postgresql_url, schema=postgresql_schema)


@pytest.fixture
def command(
    environment: dict[str, str],
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> MoveCommand:
    """Runs `move` in this process. Returns its status, and what it printed."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def move(*options: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        status = main(["move", "--from", str(file), "--json", *options])
        said = capsys.readouterr()
        return status, json.loads(said.out or said.err)

    return move


async def fill(store: Store) -> None:
    """Store every kind of row that a file can contain."""
    for tenant in TENANTS:
        one = await add(store, tenant, event_types=["invoice.paid"], metadata={"plan": "pro"}, headers={"X-Key": "v"})
        await add(store, tenant, channels=["eu"], rate_limit=5, secret=SECRET)
        await store.rotate_secret(tenant, one.id, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
        gone = await add(store, tenant)
        assert await store.delete_endpoint(tenant, gone.id)
        await emit(store, tenant, event_id="order-1", channels=["eu", "us"])
        await emit(store, tenant, data={"name": "Zoë 🙂"})
        claimed = (await claim(store)).deliveries
        await record(store, claimed[0], 200, response="ok")
        await record(store, claimed[1], 500, response="no", error="HTTP 500", next_due=store.now() + 60_000)
        await emit(store, tenant, type="user.created")
        await store.insert_for(new_event("webhooks.test", {}, tenant=tenant, test=True), tenant, one.id)
        disabled = await add(store, tenant, description="off")
        await store.update_endpoint(tenant, disabled.id, EndpointChanges(disabled=True))
    # Being attempted when the app was killed.
    await claim(store, each=1)
    await store.read_meta("secret_key", b"key of portal sessions")


async def everything(store: Store) -> dict[str, Any]:
    """Return everything that a store shows."""
    found: dict[str, Any] = {"secret_key": await store.read_meta("secret_key", b"another")}
    for tenant in TENANTS:
        endpoints = (await store.list_endpoints(tenant, limit=50, cursor=None)).items
        events = [event async for event in replayed(store, tenant)]
        found[tenant] = {
            "endpoints": endpoints,
            "events": events,
            "secrets": [await store.get_secret(tenant, endpoint.id) for endpoint in endpoints],
            "numbers": [await store.endpoint_number(tenant, endpoint.id) for endpoint in endpoints],
            "attempts": await attempts(store, tenant),
            "statistics": [
                await store.endpoint_stats(tenant, endpoint.id, UNTIL - timedelta(days=1), UNTIL)
                for endpoint in endpoints
            ],
        }
    return found


async def replayed(store: Store, tenant: str) -> Any:
    """Return the tenant's events, in the order of streams."""
    store.watch(tenant)
    replay = await store.replay(tenant, StreamFilter(), "msg_0")
    async for page in replay.pages():
        for event in page:
            yield event
    store.unwatch(tenant)


DELIVERIES = "SELECT event, endpoint, due, attempt, step, trigger, stamped, urgent FROM {}delivery ORDER BY 1, 2"


async def test_everything_in_the_file_is_moved_and_continues(
    file: Path,
    make_target: Callable[[], PostgreSQLStore],
    command: MoveCommand,
    postgresql_url: str,
    postgresql_schema: str,
) -> None:
    source = SQLiteStore(str(file))
    async with source.lifespan():
        await fill(source)
        before = await everything(source)
    with closing(sqlite3.connect(file)) as connection:
        deliveries = connection.execute(DELIVERIES.format("")).fetchall()
    assert {delivery[5] for delivery in deliveries} == {"scheduled", "test"}
    assert len(deliveries) == 6
    status, moved = command()
    assert (status, moved["rows"]["event"], moved["rows"]["delivery"]) == (0, 8, len(deliveries))
    with psycopg.connect(postgresql_url) as other:
        assert other.execute(DELIVERIES.format(f"{postgresql_schema}.")).fetchall() == deliveries
    target = make_target()
    async with target.lifespan():
        found = await everything(target)
        assert found.keys() == before.keys()
        for tenant in TENANTS:
            for kind in before[tenant]:
                assert (kind, found[tenant][kind]) == (kind, before[tenant][kind])
        assert await everything(target) == before
        clock = target.clock
        target.clock = lambda: clock() + 3600
        assert (await claim(target)).deliveries
        target.clock = clock
        # Event ids are known, numbers are not reused, and streams continue after their last event.
        again = await emit(target, event_id="order-1", data={"amount": 1})
        assert again == before["acme"]["events"][0]
        new = await emit(target)
        assert [event async for event in replayed(target, "acme")] == [*before["acme"]["events"], new]
        created = await add(target)
        number = await target.endpoint_number("acme", created.id)
        assert number is not None
        assert number > max(number for tenant in TENANTS for number in before[tenant]["numbers"])


async def test_the_outbox_for_svix_is_moved(
    file: Path, command: MoveCommand, postgresql_url: str, postgresql_schema: str
) -> None:
    outbox = SQLiteOutbox(str(file), clock=time.time, retention=86_400, max_events=100, max_bytes=1_000_000)
    events = [
        new_event("invoice.paid", {"n": n}, tenant="acme", channels=["eu", "us"], mint_id=False) for n in range(3)
    ]
    async with outbox.lifespan(lambda fresh: None):
        await outbox.submit(events).wait()
        await outbox.own_event_types(["invoice.paid"])
        first = (await outbox.next("acme", 1))[0]
        await (await outbox.dead_letter(first, "too_large", "It is too large.")).wait()
    assert command()[0] == 0
    with psycopg.connect(postgresql_url) as connection:
        rows = connection.execute(
            f"SELECT seq, event_id, channels, payload, state, code FROM {postgresql_schema}.svix_outbox ORDER BY seq"
        ).fetchall()
    assert rows == [
        (n + 1, event.event_id, "eu,us", event.payload, 0 if n else 2, None if n else "too_large")
        for n, event in enumerate(events)
    ]


@pytest.mark.slow  # Starts a process.
async def test_it_refuses_while_the_app_runs(file: Path, environment: dict[str, str]) -> None:
    async with SQLiteStore(str(file)).lifespan():
        status, _, errors = run("move", "--from", str(file), **environment)
    assert status == 1
    assert "Another process has the database" in errors
    assert "Stop all processes" in errors
    async with SQLiteStore(str(file)).lifespan():
        pass


async def test_the_app_does_not_start_on_a_moved_file_and_moving_again_does_nothing(
    file: Path, command: MoveCommand, make_target: Callable[[], PostgreSQLStore]
) -> None:
    async with SQLiteStore(str(file)).lifespan():
        pass
    assert command()[1]["movedBefore"] is False
    with pytest.raises(BackendUnavailable, match="was moved to PostgreSQL at 127.0.0.1"):
        async with SQLiteStore(str(file)).lifespan():
            pass
    async with make_target().lifespan() as _:
        pass
    assert command() == (0, {"rows": {}, "movedBefore": True})
    status, said = command("--cancel")
    assert status == 1
    assert "contains everything" in said["detail"]


async def test_it_moves_into_an_empty_schema_only_and_leaves_the_file_as_it_was(
    file: Path, command: MoveCommand, make_target: Callable[[], PostgreSQLStore]
) -> None:
    async with SQLiteStore(str(file)).lifespan():
        pass
    target = make_target()
    async with target.lifespan():
        await emit(target)
    status, said = command()
    assert status == 1
    assert "already contains events or endpoints" in said["detail"]
    async with SQLiteStore(str(file)).lifespan():
        pass


@pytest.mark.slow  # Starts a process.
async def test_killed_in_the_middle_nothing_was_moved_and_the_next_call_completes_it(
    file: Path,
    environment: dict[str, str],
    command: MoveCommand,
    make_target: Callable[[], PostgreSQLStore],
    postgresql_url: str,
    postgresql_schema: str,
) -> None:
    source = SQLiteStore(str(file))
    async with source.lifespan():
        await fill(source)
        before = await everything(source)
    async with make_target().lifespan():
        pass
    with psycopg.connect(postgresql_url) as other, psycopg.connect(postgresql_url, autocommit=True) as monitor:
        # It is stopped here, with all events copied.
        other.execute(f"LOCK TABLE {postgresql_schema}.event_channel IN SHARE MODE")
        with popen("move", "--from", str(file), **environment) as moving:

            def stopped() -> bool:
                query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'COPY %'"
                return monitor.execute(query).fetchone() == (1,)

            await eventually(stopped, within=20)
            moving.kill()
    with pytest.raises(BackendUnavailable, match="a move there was interrupted"):
        async with SQLiteStore(str(file)).lifespan():
            pass
    # The server may notice this late. The next call waits for it.
    status, moved = command()
    assert (status, moved["movedBefore"], moved["rows"]["event"]) == (0, False, 8)
    target = make_target()
    async with target.lifespan():
        assert await everything(target) == before


async def test_a_move_that_was_interrupted_can_be_canceled(
    file: Path, command: MoveCommand, postgresql_url: str, postgresql_schema: str
) -> None:
    async with SQLiteStore(str(file)).lifespan():
        pass
    where = f"{postgresql_url.rpartition('@')[2]} (schema {postgresql_schema})"
    with closing(sqlite3.connect(file)) as connection, connection:
        marks = [("moved_to", where.encode()), ("move_id", b"1")]
        connection.executemany("INSERT INTO meta (name, value) VALUES (?, ?)", marks)
    assert command("--cancel") == (0, {"canceled": True})
    assert command("--cancel") == (0, {"canceled": False})
    async with SQLiteStore(str(file)).lifespan():
        pass


async def test_a_move_continues_only_to_where_it_began(file: Path, command: MoveCommand) -> None:
    async with SQLiteStore(str(file)).lifespan():
        pass
    with closing(sqlite3.connect(file)) as connection, connection:
        marks = [("moved_to", b"elsewhere"), ("move_id", b"1")]
        connection.executemany("INSERT INTO meta (name, value) VALUES (?, ?)", marks)
    status, said = command()
    assert (status, "was moved to elsewhere before" in said["detail"]) == (1, True)
    status, said = command("--cancel")
    assert (status, "was being moved to elsewhere. Name that one." in said["detail"]) == (1, True)


def test_a_foreign_file_is_refused(file: Path, command: MoveCommand) -> None:
    status, said = command()
    assert status == 1
    assert "cannot be opened" in said["detail"]
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE other (a)")
    status, said = command()
    assert status == 1
    assert "another application" in said["detail"]
    assert not file.with_name("missing.db").exists()
