"""The relay moves each committed event into the backend once, and only then deletes it from the outbox."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from sqlalchemy import AsyncAdaptedQueuePool, Engine, QueuePool, StaticPool, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.testclient import TestClient

from starlette_webhooks import BackendRefused, BackendUnavailable, Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.outbox.connectors import Busy, Statement, connect
from starlette_webhooks.outbox.drain import Drain, OtherLog
from starlette_webhooks.relay.host import HostRelay
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.submissions import Submission
from starlette_webhooks.testing import EmittedEvents
from tests.eventually import eventually
from tests.outbox.hosts import Host, Rejected

LOOPS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


class Moody(MemoryBackend):
    """A backend that is unavailable, or refuses some events."""

    away = False
    refuses: str | None = None

    def submit(self, events: Sequence[Event]) -> Submission:
        if self.away:
            raise BackendUnavailable
        if any(event.type == self.refuses for event in events):
            raise BackendRefused(code="too_odd", detail="Not this one.")
        return super().submit(events)


def make(outbox: Outbox, settings: WebhooksSettings, backend: MemoryBackend | None = None) -> Webhooks:
    backend = backend or MemoryBackend(settings)
    return Webhooks(event_types=["order.created", "order.odd"], settings=settings, backend=backend, outbox=outbox)


async def logged(webhooks: Webhooks, *expected: str, tenant: str = "acme") -> None:
    """Wait until the log has these ids."""

    async def there() -> bool:
        page = await webhooks.backend.list_events(tenant, EventQuery(limit=250))
        return [event.id for event in reversed(page.items)] == list(expected)

    await eventually(there)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    Outbox(engine).metadata.create_all(engine)
    yield engine
    engine.dispose()


def waiting(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT id FROM webhooks_outbox ORDER BY created_at, id")).scalars())


def commit(webhooks: Webhooks, engine: Engine, event_type: str = "order.created", tenant: str = "acme") -> str:
    with Session(engine) as session:
        event = webhooks.emitter(tenant).emit(event_type, {}, within=session).event
        session.commit()
    return event.id


async def test_committed_events_are_moved_in_order_and_rolled_back_ones_never_exist(
    host: Host, settings: WebhooksSettings, emitted_webhooks: EmittedEvents
) -> None:
    webhooks = make(host.outbox, settings)
    emitter = webhooks.emitter("acme")
    async with host.transaction() as order:
        early = await order(emitter, "before the start")
    async with webhooks.lifespan():
        with pytest.raises(Rejected):
            async with host.transaction() as order:
                await order(emitter, "rejected")
                raise Rejected
        async with host.transaction() as order:
            events = [early, await order(emitter, "one"), await order(emitter, "two")]
        await logged(webhooks, *[event.id for event in events])
        await eventually(lambda: host.rows() == [] and list(emitted_webhooks) == events)


@LOOPS
@pytest.mark.parametrize("by", ["url", "engine"])
async def test_both_event_loops_relay(engine: Engine, settings: WebhooksSettings, by: str) -> None:
    webhooks = make(Outbox(engine if by == "engine" else str(engine.url)), settings)
    async with webhooks.lifespan():
        id = await anyio.to_thread.run_sync(commit, webhooks, engine)
        await logged(webhooks, id)
        found = webhooks.health()["hostOutbox"]
        assert (found["here"], found["problem"]) == (True, None)


@LOOPS
async def test_an_event_stays_until_the_backend_has_accepted_it(engine: Engine, settings: WebhooksSettings) -> None:
    backend = Moody(settings)
    webhooks = make(Outbox(engine), settings, backend)
    async with webhooks.lifespan():
        backend.away = True
        id = commit(webhooks, engine)
        await eventually(lambda: webhooks.health()["hostOutbox"]["problem"])
        assert waiting(engine) == [id]
        assert webhooks.health()["status"] == "degraded"
        backend.away = False
        await logged(webhooks, id)
        await eventually(lambda: waiting(engine) == [])


async def test_an_event_that_was_moved_before_the_relay_died_is_there_once(
    engine: Engine, settings: WebhooksSettings
) -> None:
    settings = settings.model_copy(update={"database": str(Path(str(engine.url.database)).with_name("log.db"))})
    outbox = Outbox(engine)
    webhooks = Webhooks(event_types=["order.created"], settings=settings, outbox=outbox)
    id = commit(webhooks, engine)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT id, tenant, body FROM webhooks_outbox")).one()
    async with webhooks.lifespan():
        await logged(webhooks, id)
        await eventually(lambda: waiting(engine) == [])
        with engine.begin() as connection:
            connection.execute(
                text("INSERT INTO webhooks_outbox (id, tenant, body) VALUES (:id, :tenant, :body)"), row._asdict()
            )
        last = commit(webhooks, engine)
        await logged(webhooks, id, last)
        await eventually(lambda: waiting(engine) == [])


async def test_a_refused_event_is_dead_lettered_and_delays_no_other(engine: Engine, settings: WebhooksSettings) -> None:
    backend = Moody(settings)
    backend.refuses = "order.odd"
    outbox = Outbox(engine)
    webhooks = make(outbox, settings, backend)
    first, odd, last = [commit(webhooks, engine, name) for name in ("order.created", "order.odd", "order.created")]
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO webhooks_outbox (id, tenant, body) VALUES ('broken', 'acme', X'00')"))
        # A row of a newer version of the package is left for a process of that version.
        newer = text("INSERT INTO webhooks_outbox (id, tenant, body) VALUES ('newer', 'acme', :body)")
        connection.execute(newer, {"body": b'{"v":2}\n{}'})
    async with webhooks.lifespan():
        await logged(webhooks, first, last)
        await eventually(lambda: waiting(engine) == ["newer"])
        dead = {one.id: (one.code, one.detail) for one in await webhooks.dead_letters()}
        assert dead == {odd: ("too_odd", "Not this one."), "broken": ("invalid", "It cannot be read.")}
        backend.refuses = None
        assert await webhooks.redrive_dead_letters() == 2
        await logged(webhooks, first, odd, last)


async def test_large_events_are_moved_a_few_at_a_time(engine: Engine, settings: WebhooksSettings) -> None:
    webhooks = make(Outbox(engine), settings)
    drain = Drain(Outbox(engine))
    with Session(engine) as session:
        many = webhooks.emitter("acme").emit_many([("order.created", {"text": "x" * 900_000})] * 12, within=session)
        session.commit()
    assert 9 <= len(await drain.read(100)) < 12
    await drain.close()
    async with webhooks.lifespan():
        await eventually(lambda: waiting(engine) == [])
        assert isinstance(webhooks.backend, MemoryBackend)
        assert webhooks.backend.events == list(many.events)


async def test_erasing_a_tenant_includes_the_outbox(engine: Engine, settings: WebhooksSettings) -> None:
    backend = Moody(settings)
    backend.away = True
    webhooks = make(Outbox(engine), settings, backend)
    async with webhooks.lifespan():
        kept, _ = commit(webhooks, engine, tenant="other"), commit(webhooks, engine)
        await webhooks.erase("acme")
        assert waiting(engine) == [kept]


# Who relays


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_one_process_relays_and_another_takes_over(
    engine: Engine, request: pytest.FixtureRequest, database: str
) -> None:
    outbox = Outbox(engine)
    if database == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        other = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        outbox = Outbox(other, schema=request.getfixturevalue("postgresql_schema"))
        outbox.metadata.create_all(other)
        other.dispose()
        outbox = Outbox(url, schema=outbox.names.schema)
    # The lease of a process that died ends very soon here. A file lock is released immediately.
    first, second = Drain(outbox, log="a", lease=0.05), Drain(outbox, log="a")
    assert await first.lease()
    term = first.term
    assert await first.lease()
    if database == "sqlite":
        assert not await second.lease()
        await first.release()
    else:
        await anyio.sleep(0.06)
    assert await second.lease()
    assert (first.term, second.term) == (term, term + 1)
    # A process that no longer relays deletes nothing.
    sql, values = outbox.statement(
        make(outbox, WebhooksSettings()).emitter("acme").prepare("order.created"), paramstyle="qmark"
    )
    if database == "sqlite":
        with engine.begin() as connection:
            connection.exec_driver_sql(sql, tuple(values))
        (row,) = await second.read(10)
        await first.delete([row.id])
        assert waiting(engine) == [row.id]
        await second.delete([row.id])
        assert waiting(engine) == []
    for drain in (first, second):
        await drain.release()
        await drain.close()


@LOOPS
async def test_a_process_that_stops_leaves_the_relay_to_another_one_at_once(
    postgresql_url: str, postgresql_schema: str
) -> None:
    engine = create_engine(postgresql_url.replace("postgresql://", "postgresql+psycopg://"))
    Outbox(engine, schema=postgresql_schema).metadata.create_all(engine)
    engine.dispose()
    drain, other = (Drain(Outbox(postgresql_url, schema=postgresql_schema), lease=3600) for _ in range(2))

    async def accept(events: Sequence[Event]) -> None:
        """A backend that accepts everything."""

    relay = HostRelay(drain, accept, mints_ids=True, on_accepted=lambda ids: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relay.run)
        await eventually(lambda: relay.relaying)
        assert not await other.lease()
        tasks.cancel_scope.cancel()
    assert await other.lease()
    await other.release()
    await other.close()


async def test_the_outbox_remembers_which_log_its_events_go_to(engine: Engine, tmp_path: Path) -> None:
    def webhooks_with(name: str) -> Webhooks:
        settings = WebhooksSettings(database=str(tmp_path / name), handle_signals=False)
        return Webhooks(event_types=["order.created"], settings=settings, outbox=Outbox(engine))

    right, wrong = webhooks_with("right.db"), webhooks_with("wrong.db")
    async with right.lifespan():
        await logged(right, commit(right, engine))
    async with wrong.lifespan():
        id = commit(wrong, engine)
        await eventually(lambda: "into another log" in str(wrong.health().get("hostOutbox")))
        assert waiting(engine) == [id]
    drain = Drain(Outbox(engine), log="a third one")
    with pytest.raises(OtherLog, match="the same `WEBHOOKS_DATABASE`"):
        await drain.lease()
    await drain.close()


async def test_the_outbox_of_a_test_database_serves_one_log_in_memory_after_another(engine: Engine) -> None:
    settings = WebhooksSettings(database=":memory:", handle_signals=False)
    for _ in range(2):
        webhooks = Webhooks(event_types=["order.created"], settings=settings, outbox=Outbox(engine))
        async with webhooks.lifespan():
            await logged(webhooks, commit(webhooks, engine))


# The tables


def test_a_host_without_the_tables_does_not_start(tmp_path: Path, settings: WebhooksSettings) -> None:
    empty = create_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    webhooks = make(Outbox(empty), settings)
    app = Starlette()
    webhooks.install(app)
    with pytest.raises(RuntimeError, match=r"outbox.metadata.create_all\(engine\)"), TestClient(app):
        pass
    # The table is known to be missing by now, so that no failing INSERT aborts the host's transaction.
    with Session(empty) as session, pytest.raises(RuntimeError, match=r"outbox.metadata.create_all\(engine\)"):
        webhooks.emitter("acme").emit("order.created", within=session)
    empty.dispose()


def test_a_host_may_create_the_tables_as_it_starts(tmp_path: Path, settings: WebhooksSettings) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    outbox = Outbox(engine)
    webhooks = make(outbox, settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        outbox.metadata.create_all(engine)
        yield

    app = Starlette(lifespan=lifespan)
    webhooks.install(app)
    with TestClient(app):
        commit(webhooks, engine)
    engine.dispose()


# Databases in memory, where the host and the relay share a connection


@pytest.mark.parametrize("shared", [True, False])
async def test_a_database_in_memory_works(settings: WebhooksSettings, shared: bool) -> None:
    options: dict[str, Any] = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}} if shared else {}
    engine = create_engine("sqlite://", **options)
    outbox = Outbox(engine)
    outbox.metadata.create_all(engine)
    webhooks, drain = make(outbox, settings), Drain(outbox)
    async with webhooks.lifespan():
        with Session(engine) as session:
            webhooks.emitter("acme").emit("order.created", within=session)
            session.flush()
            # The relay must neither see nor commit it.
            with pytest.raises(Busy):
                await drain.read(1)
            session.rollback()
        await drain.close()
        id = commit(webhooks, engine)
        await logged(webhooks, id)
        await eventually(lambda: waiting(engine) == [])
    engine.dispose()


async def test_an_async_database_in_memory_works(settings: WebhooksSettings) -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    outbox = Outbox(engine)
    async with engine.begin() as connection:
        await connection.run_sync(outbox.metadata.create_all)
    webhooks, drain = make(outbox, settings), Drain(outbox)
    async with webhooks.lifespan():
        async with AsyncSession(engine) as session:
            webhooks.emitter("acme").emit("order.created", within=session)
            await session.flush()
            with pytest.raises(Busy):
                await drain.read(1)
            await session.rollback()
            id = webhooks.emitter("acme").emit("order.created", within=session).event.id
            await session.commit()
        await logged(webhooks, id)

        async def is_empty() -> bool:
            try:
                return not await drain.read(1)
            except Busy:
                return False

        await eventually(is_empty)
    await drain.close()
    await engine.dispose()


@pytest.mark.parametrize("kind", ["sync", "async", "sync in memory", "async in memory"])
async def test_of_statements_of_which_one_fails_none_takes_effect(kind: str, tmp_path: Path) -> None:
    path = "" if "memory" in kind else f"/{tmp_path / 'host.db'}"
    engine: Any = (
        create_async_engine(f"sqlite+aiosqlite://{path}") if "async" in kind else create_engine(f"sqlite://{path}")
    )
    connector = connect(engine, Outbox(engine).place)
    await connector.run(("CREATE TABLE notes (id)", {}))
    insert: Statement = ("INSERT INTO notes VALUES (1)", {})
    with pytest.raises(BackendUnavailable):
        await connector.run(insert, ("INSERT INTO missing VALUES (1)", {}))
    count: Statement = ("SELECT COUNT(*) FROM notes", {})
    assert [tuple(row) for row in await connector.run(count)] == [(0,)]
    assert [tuple(row) for row in await connector.run(insert, count)] == [(1,)]
    assert [tuple(row) for row in await connector.run(count)] == [(1,)], "nothing is left open"
    await connector.close()
    # A database in memory belongs to the thread that opened it.
    if kind == "sync":
        await anyio.to_thread.run_sync(engine.dispose)
    elif kind == "sync in memory":
        engine.dispose()
    else:
        await engine.dispose()


async def test_tables_that_disappear_are_noticed_and_may_come_back(engine: Engine, settings: WebhooksSettings) -> None:
    outbox = Outbox(engine)
    webhooks = make(outbox, settings)
    async with webhooks.lifespan():
        outbox.metadata.drop_all(engine)
        await eventually(lambda: outbox.missing)
        # Found before an INSERT would fail, and the host's transaction with it.
        with Session(engine) as session, pytest.raises(RuntimeError, match="create_all"):
            webhooks.emitter("acme").emit("order.created", within=session)
        outbox.metadata.create_all(engine)
        await eventually(lambda: not outbox.missing)
        await logged(webhooks, commit(webhooks, engine))


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_relay_occupies_no_slot_of_the_hosts_pool(kind: str, tmp_path: Path) -> None:
    small = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.05}
    path = tmp_path / "host.db"
    if kind == "sync":
        engine = create_engine(f"sqlite:///{path}", poolclass=QueuePool, **small)
        connector = connect(engine, Outbox(engine).place)
        await connector.run(("SELECT 1", {}))
        engine.connect().close()
        await connector.close()
        engine.dispose()
        return
    async_engine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=AsyncAdaptedQueuePool, **small)
    connector = connect(async_engine, Outbox(async_engine).place)
    await connector.run(("SELECT 1", {}))
    async with async_engine.connect():
        pass
    await connector.close()
    await async_engine.dispose()


@pytest.mark.parametrize("kind", ["url", "sync", "async"])
async def test_a_connection_that_broke_is_opened_again(kind: str, postgresql_url: str) -> None:
    source: Any = postgresql_url
    if kind == "sync":
        source = create_engine(postgresql_url.replace("postgresql://", "postgresql+psycopg://"))
    elif kind == "async":
        source = create_async_engine(postgresql_url.replace("postgresql://", "postgresql+asyncpg://"))
    connector = connect(source, Outbox(source).place)
    ((pid,),) = await connector.run(("SELECT pg_backend_pid()", {}))
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    with pytest.raises(BackendUnavailable):
        await connector.run(("SELECT 1", {}))
    assert [tuple(row) for row in await connector.run(("SELECT 1", {}))] == [(1,)]
    await connector.close()
    if kind != "url":
        await (source.dispose() if kind == "async" else anyio.to_thread.run_sync(source.dispose))


async def test_a_host_on_sqlite_never_meets_a_lock(
    engine: Engine, settings: WebhooksSettings, anyio_backend: str
) -> None:
    webhooks = make(Outbox(engine), settings)
    errors: list[Exception] = []
    ids: list[str] = []

    def work() -> None:
        end = time.monotonic() + 1
        try:
            while time.monotonic() < end:
                ids.append(commit(webhooks, engine))
        except Exception as exc:
            errors.append(exc)

    async with webhooks.lifespan():
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
        await eventually(lambda: waiting(engine) == [])
        assert errors == []
        assert isinstance(webhooks.backend, MemoryBackend)
        assert sorted({event.id for event in webhooks.backend.events}) == sorted(ids)


# Stopping


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_connection_stays_open_if_the_host_disposes_of_its_engine_before(
    engine: Engine, settings: WebhooksSettings, kind: str
) -> None:
    used: Any = engine if kind == "sync" else create_async_engine(f"sqlite+aiosqlite:///{engine.url.database}")
    opened: list[Any] = []
    event.listen(getattr(used, "sync_engine", used), "connect", lambda driver, _: opened.append(driver))
    webhooks = make(Outbox(used), settings)
    async with webhooks.lifespan():
        # On a thread: a relay with an async engine needs the event loop to end its transaction.
        id = await anyio.to_thread.run_sync(commit, webhooks, engine)
        await logged(webhooks, id)
        disposed = used.dispose()
        if disposed is not None:
            await disposed
        # The relay goes on until the host has stopped.
        await logged(webhooks, id, await anyio.to_thread.run_sync(commit, webhooks, engine))
    if kind == "sync":
        engine.dispose()
    for connection in opened:
        with pytest.raises((sqlite3.ProgrammingError, ValueError), match="closed|no active"):
            connection.execute("SELECT 1") if kind == "sync" else await connection.driver_connection.execute("SELECT 1")
