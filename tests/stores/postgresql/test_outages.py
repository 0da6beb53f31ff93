"""A PostgreSQL server that is unavailable, refuses, is full or hangs: calls end in time, and work continues."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import psycopg
import pytest
from anyio import to_thread

from starlette_webhooks.exceptions import BackendUnavailable, NotRunning
from starlette_webhooks.stores.postgresql.connection import Link
from starlette_webhooks.stores.postgresql.conninfo import parse_url
from starlette_webhooks.stores.postgresql.outbox import PostgreSQLOutbox
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from tests.disks import filled, small_disk
from tests.eventually import eventually
from tests.forking import in_child
from tests.postgresql import PostgreSQL, delaying, pooling
from tests.stores.contract import add, claim, emit, event, ids, record


@pytest.fixture
def anyio_backend() -> str:
    """One event loop, because this code runs on threads."""
    return "asyncio"


@contextmanager
def taking(*, at_most: float) -> Iterator[None]:
    """Fail if the block takes longer."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < at_most


async def emitted(store: PostgreSQLStore) -> str | None:
    """The id of a new event, or None if it is refused."""
    try:
        return (await emit(store)).id
    except BackendUnavailable:
        return None


async def test_emits_fail_immediately_while_the_server_is_known_to_be_unavailable(
    own_postgresql: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    store = PostgreSQLStore(own_postgresql.url, deadline=1)
    limits = {"retention": 60, "max_events": 100, "max_bytes": 1_000_000}
    # That of events for Svix.
    outbox = PostgreSQLOutbox(own_postgresql.url, clock=time.time, deadline=1, **limits)
    async with store.lifespan(), outbox.lifespan(lambda fresh: None):
        own_postgresql.stop(signal.SIGQUIT)
        with taking(at_most=2.5), pytest.raises(BackendUnavailable):
            await emit(store)
        with taking(at_most=2.5), pytest.raises(BackendUnavailable):
            await outbox.submit([event()]).wait()
        for _ in range(20):
            with taking(at_most=0.5), pytest.raises(BackendUnavailable, match="unavailable"):
                await emit(store)
            with taking(at_most=0.5), pytest.raises(BackendUnavailable, match="unavailable"):
                await outbox.submit([event()]).wait()
            await anyio.sleep(0.06)
        assert str(store.health().get("problem")).startswith("The database is unavailable")
        own_postgresql.start()
        await eventually(partial(emitted, store))
        assert store.health().get("problem") is None
    # Each of the two says it once.
    assert len([one for one in caplog.records if "The database is unavailable" in one.message]) == 2


async def test_short_restart_delays_emits_without_refusing_any(own_postgresql: PostgreSQL) -> None:
    store = PostgreSQLStore(own_postgresql.url, deadline=15)
    async with store.lifespan():
        sent = [(await emit(store)).id]
        stop = anyio.Event()

        async def emit_all_the_time() -> None:
            while not stop.is_set():
                sent.append((await emit(store)).id)

        async def look() -> None:
            # Other calls notice that the server is away.
            while not stop.is_set():
                with suppress(BackendUnavailable):
                    await ids(store)
                await anyio.sleep(0.02)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(emit_all_the_time)
            tasks.start_soon(look)
            await to_thread.run_sync(own_postgresql.restart)
            before = len(sent)
            await eventually(lambda: len(sent) > before)
            stop.set()
        assert sorted(await ids(store, limit=250)) == sorted(sent)[-250:]


async def test_connection_reaches_the_last_of_several_hosts_even_if_callers_have_little_time(
    postgresql_url: str, postgresql_schema: str
) -> None:
    server = urlsplit(postgresql_url)
    with delaying(postgresql_url, 0) as (_, proxy):
        proxy.black = True
        hosts = f"127.0.0.1:{proxy.port},{server.hostname}:{server.port}"
        credentials = server.netloc.rpartition("@")[0]
        url = f"postgresql://{credentials}@{hosts}{server.path}?connect_timeout=2"
        link = Link(parse_url(url))
        for _ in range(3):
            with taking(at_most=0.5), pytest.raises(BackendUnavailable, match="has not answered in time"):
                link.call("SELECT 1", deadline=time.monotonic() + 0.2)
        # The thread that connects continues with the second host.
        assert link.call("SELECT 1", deadline=time.monotonic() + 8) == [(1,)]
        link.close()
        # The first connection of a process has more time than its calls.
        async with PostgreSQLStore(url, schema=postgresql_schema, deadline=1.5).lifespan():
            """It has started."""


async def test_server_that_refuses_writes_counts_as_unavailable(own_postgresql: PostgreSQL) -> None:
    store = PostgreSQLStore(own_postgresql.url, deadline=1)
    async with store.lifespan():
        before = await emit(store)
        own_postgresql.configure(default_transaction_read_only="on")
        await eventually(lambda: own_postgresql.query("SHOW default_transaction_read_only") == "on")
        with taking(at_most=2.5), pytest.raises(BackendUnavailable):
            await emit(store)
        assert "read-only" in str(store.health().get("problem"))
        with taking(at_most=0.5), pytest.raises(BackendUnavailable):
            await emit(store)
        own_postgresql.execute(
            "SET default_transaction_read_only = off",
            "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_reload_conf()",
        )
        after = await eventually(partial(emitted, store))
        assert await ids(store) == [after, before.id]


async def test_file_that_cannot_grow_refuses_emits_immediately_and_loses_nothing(own_postgresql: PostgreSQL) -> None:
    store = PostgreSQLStore(own_postgresql.url, deadline=5)
    # Incompressible data goes into the file of large values, which may not grow beyond this.
    own_postgresql.limit_files(17_000_000)
    async with store.lifespan():
        sent: list[str] = []
        with pytest.raises(BackendUnavailable, match=r"could not (extend|write)"):
            while len(sent) < 60:
                sent.append((await emit(store, data={"filling": os.urandom(400_000).hex()})).id)
        problem = store.health().get("problem")
        assert problem is not None
        assert problem.startswith("The database fails")
        with taking(at_most=2), pytest.raises(BackendUnavailable):
            await emit(store, data={"filling": os.urandom(500_000).hex()})
        # Smaller events are still stored.
        sent.append((await emit(store)).id)
        assert store.health().get("problem") is None
        own_postgresql.limit_files(None)
        sent.append((await emit(store, data={"filling": os.urandom(400_000).hex()})).id)
        assert own_postgresql.query("SELECT string_agg(id, ',' ORDER BY seq) FROM webhooks.event") == ",".join(sent)


async def test_full_disk_refuses_emits_and_records_until_there_is_space_again(
    own_postgresql: PostgreSQL, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk, own_postgresql.tables_on(disk):
        store = PostgreSQLStore(own_postgresql.url, deadline=2)
        async with store.lifespan():
            await add(store)
            sent = [(await emit(store)).id]
            (delivery,) = (await claim(store)).deliveries
            with filled(disk):
                with pytest.raises(BackendUnavailable, match="No space left on device"):
                    # Pages that exist still have space for a few.
                    while len(sent) < 100:
                        sent.append((await emit(store, data={"filling": os.urandom(4_000).hex()})).id)
                for _ in range(5):
                    with taking(at_most=2), pytest.raises(BackendUnavailable, match="No space left on device"):
                        await emit(store, data={"filling": os.urandom(4_000).hex()})
                problem = store.health().get("problem")
                # Reads go on, and do not hide it.
                assert await ids(store, limit=250) == sent[::-1]
                assert store.health().get("problem") == problem
                assert str(problem).startswith("The database fails: could not extend file")
            sent.append((await emit(store)).id)
            assert store.health().get("problem") is None
            await record(store, delivery)
            assert await ids(store, limit=250) == sent[::-1]


async def test_pooler_that_is_restarted_under_load_loses_nothing(postgresql_url: str, postgresql_schema: str) -> None:
    with pooling(postgresql_url) as pooler:
        store = PostgreSQLStore(pooler.url, schema=postgresql_schema, deadline=15)
        async with store.lifespan():
            await add(store)
            sent: list[str] = []
            restarts = anyio.Event()

            async def emit_all_the_time() -> None:
                while not restarts.is_set():
                    sent.append((await emit(store)).id)

            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(emit_all_the_time)
                for _ in range(3):
                    before = len(sent)
                    await eventually(lambda before=before: len(sent) > before + 20)  # type: ignore[misc]
                    pooler.stop()
                    await to_thread.run_sync(pooler.start)
                restarts.set()
            assert len(set(sent)) == len(sent)
            assert set(await ids(store, limit=250)) == set(sorted(sent)[-250:])
            for delivery in (await claim(store, each=5)).deliveries:
                await record(store, delivery)


async def test_commit_is_on_disk_regardless_of_the_servers_default(own_postgresql: PostgreSQL) -> None:
    store = PostgreSQLStore(own_postgresql.url, deadline=15)
    async with store.lifespan():
        await add(store)
        own_postgresql.configure(synchronous_commit="off", wal_writer_delay="10s")
        await eventually(lambda: own_postgresql.query("SHOW synchronous_commit") == "off")
        sent = await emit(store)
        (delivery,) = (await claim(store)).deliveries
        await record(store, delivery)
        await to_thread.run_sync(own_postgresql.restart)
        assert await eventually(partial(emitted, store))
        assert sent.id in await ids(store)
        assert (await claim(store, each=5)).deliveries[0].event_id != sent.id, "it was recorded, so it is not due"


async def test_timeouts_of_the_role_end_calls_and_nothing_else(own_postgresql: PostgreSQL) -> None:
    own_postgresql.configure(statement_timeout="300ms", idle_session_timeout="200ms")
    store = PostgreSQLStore(own_postgresql.url, listen_url=own_postgresql.url, deadline=5)
    async with store.lifespan():
        with psycopg.connect(own_postgresql.url) as other:
            other.execute("SET statement_timeout = 0; SELECT webhooks.lock_log_1()")
            with taking(at_most=2), pytest.raises(BackendUnavailable, match="statement timeout"):
                await emit(store)
        sent = []
        for _ in range(3):
            sent.append((await emit(store)).id)
            # Idle sessions are ended meanwhile.
            await anyio.sleep(0.3)
        assert await ids(store) == sent[::-1]


async def test_server_ends_a_call_that_waits_for_a_lock_once_its_client_is_out_of_reach(
    postgresql_url: str, postgresql_schema: str
) -> None:
    def is_waiting() -> bool:
        with psycopg.connect(postgresql_url) as admin:
            row = admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE %s",
                (f"%{postgresql_schema}%",),
            ).fetchone()
        return row != (0,)

    with delaying(postgresql_url, 0) as (url, proxy):
        store = PostgreSQLStore(url, schema=postgresql_schema, deadline=1)
        async with store.lifespan():
            await emit(store)
            with psycopg.connect(postgresql_url) as holder:
                holder.execute(f"SELECT {postgresql_schema}.lock_log_1()")
                waiting = store.submit([event()])
                await eventually(lambda: to_thread.run_sync(is_waiting))
                # Its request to cancel does not arrive either.
                proxy.black = True
                with pytest.raises(BackendUnavailable):
                    await waiting.wait()

                async def has_ended() -> bool:
                    return not await to_thread.run_sync(is_waiting)

                await eventually(has_ended)
            proxy.black = False


def test_limit_of_statements_is_kept_from_sessions_of_a_pooler_and_below_that_of_the_role(
    own_postgresql: PostgreSQL,
) -> None:
    def limit(url: str) -> str:
        link = Link(replace(parse_url(url), statement_timeout=6))
        try:
            return str(link.call("SHOW statement_timeout", deadline=time.monotonic() + 5)[0][0])
        finally:
            link.close()

    assert limit(own_postgresql.url) == "6s"
    with pooling(own_postgresql.url) as pooler:
        assert limit(pooler.url) == "0"
        own_postgresql.execute("ALTER ROLE tester SET statement_timeout = '2s'")
        assert limit(own_postgresql.url) == "2s"
        own_postgresql.execute("ALTER ROLE tester RESET statement_timeout")


async def test_emit_that_nobody_lets_through_is_shown_until_another_one_succeeds(
    postgresql_url: str, postgresql_schema: str
) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema, deadline=0.5)
    async with store.lifespan():
        with psycopg.connect(postgresql_url) as holder:
            holder.execute(f"SELECT {postgresql_schema}.lock_log_1()")
            with pytest.raises(BackendUnavailable):
                await emit(store)
            assert await ids(store) == []
            assert str(store.health().get("problem")).startswith("The database fails")
        await emit(store)
        assert store.health().get("problem") is None


async def test_black_hole_fails_reads_and_records_in_time_and_recovers(
    postgresql_url: str, postgresql_schema: str
) -> None:
    with delaying(postgresql_url, 0) as (url, proxy):
        store = PostgreSQLStore(f"{url}?connect_timeout=2", schema=postgresql_schema, deadline=0.5)
        async with store.lifespan():
            await add(store)
            await emit(store)
            (delivery,) = (await claim(store)).deliveries
            proxy.black = True
            for call in (partial(ids, store), partial(claim, store, 1), partial(record, store, delivery)):
                with taking(at_most=4), pytest.raises(BackendUnavailable):
                    await call()
            with taking(at_most=4), pytest.raises(BackendUnavailable):
                await emit(store)
            with taking(at_most=0.5), pytest.raises(BackendUnavailable):
                await emit(store)
            proxy.black = False
            assert await eventually(partial(emitted, store))


async def test_startup_continues_once_the_server_is_available(own_postgresql: PostgreSQL) -> None:
    own_postgresql.stop()
    store = PostgreSQLStore(own_postgresql.url, patience=30)
    async with anyio.create_task_group() as tasks:

        async def start_late() -> None:
            await anyio.sleep(0.3)
            await to_thread.run_sync(own_postgresql.start)

        tasks.start_soon(start_late)
        async with store.lifespan():
            await emit(store)


async def test_forked_child_closes_nothing_of_its_parent(own_postgresql: PostgreSQL) -> None:
    store = PostgreSQLStore(own_postgresql.url, listen_url=own_postgresql.url)
    async with store.lifespan():
        await emit(store)
        await eventually(lambda: store.health().get("hints"))
        sessions = "SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity WHERE application_name <> ''"
        link = Link(store.database.info)
        link.call("SELECT 1", deadline=time.monotonic() + 5)
        before = own_postgresql.query(sessions)

        def child() -> int:
            try:
                store.submit([event()])
            except NotRunning:
                link.close()
                gc.collect()
                # A connection of its own.
                return int(link.call("SELECT 40", deadline=time.monotonic() + 5)[0][0])
            return 1

        assert await to_thread.run_sync(in_child, child) == 40
        await emit(store)
        assert link.call("SELECT 2", deadline=time.monotonic() + 5) == [(2,)]
        assert own_postgresql.query(sessions) == before
        link.close()


async def test_password_is_in_no_error_log_or_health(
    own_postgresql: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    password = "secret-of-tests"
    shown: list[str] = []
    wrong = PostgreSQLStore(own_postgresql.url.replace(password, "hidden-word"), patience=0)
    with pytest.raises(BackendUnavailable) as caught:
        async with wrong.lifespan():
            pass
    shown += traceback.format_exception(caught.value)
    store = PostgreSQLStore(own_postgresql.url, listen_url=own_postgresql.url, deadline=0.5)
    async with store.lifespan():
        await emit(store)
        own_postgresql.stop(signal.SIGQUIT)
        for call in (partial(emit, store), partial(ids, store)):
            with pytest.raises(BackendUnavailable) as caught:
                await call()
            shown += traceback.format_exception(caught.value)
        shown += [str(store.health()), repr(vars(store)), repr(vars(store.database))]
        own_postgresql.start()
    text = caplog.text + "".join(shown)
    assert "cannot be reached" in text
    assert "hidden-word" not in text
    assert password not in text
