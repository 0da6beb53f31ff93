"""A PostgreSQL server that breaks connections, restarts, is unavailable, or does not respond."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial

import anyio
import psycopg
import pytest
from anyio import to_thread

from starlette_webhooks.backends.postgresql import PostgreSQLBackend
from starlette_webhooks.delivery.deliveries import LeasedDelivery
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.exceptions import BackendRefused, BackendUnavailable
from starlette_webhooks.stores.postgresql.outbox import PostgreSQLOutbox
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from tests.eventually import eventually
from tests.postgresql import PostgreSQL, delaying
from tests.scarcity import no_free_descriptors, no_free_threads
from tests.servers import free_port
from tests.settings import make_settings
from tests.stores.contract import add, attempts, claim, emit, event, ids, record
from tests.stores.postgresql.outboxes import leave_in_outbox


async def test_event_is_stored_once_if_its_connection_breaks(postgresql_url: str, postgresql_schema: str) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema)
    async with store.lifespan():
        sent = []
        with psycopg.connect(postgresql_url, autocommit=True) as connection:
            for _ in range(20):
                waiting = store.submit([event()])
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'starlette_webhooks' AND query LIKE %s",
                    (f"%{postgresql_schema}%",),
                )
                sent += [one.id for one in await waiting.wait()]
        assert sorted(await ids(store, limit=100)) == sorted(sent)


async def test_work_continues_after_an_immediate_restart(own_postgresql: PostgreSQL) -> None:
    store = PostgreSQLStore(own_postgresql.url, deadline=20)
    async with store.lifespan():
        await add(store)
        before = await emit(store)
        await anyio.to_thread.run_sync(own_postgresql.restart)
        after = await emit(store)
        assert await ids(store) == [after.id, before.id]
        deliveries = (await claim(store, each=5)).deliveries
        assert len(deliveries) == 2
        for one in deliveries:
            await record(store, one)


async def test_emit_fails_within_the_deadline_and_then_immediately_while_the_server_is_unavailable(
    own_postgresql: PostgreSQL,
) -> None:
    store = PostgreSQLStore(own_postgresql.url, deadline=2)
    async with store.lifespan():
        await emit(store)
        own_postgresql.stop(signal.SIGQUIT)
        started = time.monotonic()
        with pytest.raises(BackendUnavailable):
            await emit(store)
        assert time.monotonic() - started < 4
        started = time.monotonic()
        with pytest.raises(BackendUnavailable):
            await store.list_endpoints("acme", limit=5, cursor=None)
        assert time.monotonic() - started < 1
        assert store.health().get("problem")
        own_postgresql.start()

        async def emitted() -> bool:
            try:
                await emit(store)
            except BackendUnavailable:
                return False
            return True

        await eventually(emitted)
        assert store.health().get("problem") is None


async def test_server_that_does_not_respond_is_given_up(postgresql_url: str, postgresql_schema: str) -> None:
    with delaying(postgresql_url, 0) as (url, proxy):
        store = PostgreSQLStore(url, schema=postgresql_schema, deadline=1.5)
        async with store.lifespan():
            await emit(store)
            proxy.black = True
            started = time.monotonic()
            with pytest.raises(BackendUnavailable):
                await emit(store)
            assert time.monotonic() - started < 8
            proxy.black = False


async def test_start_waits_for_the_server_and_then_says_why(caplog: pytest.LogCaptureFixture) -> None:
    store = PostgreSQLStore(f"postgresql://ada:hidden-word@127.0.0.1:{free_port()}/shop", patience=1)
    started = time.monotonic()
    with caplog.at_level(logging.WARNING), pytest.raises(BackendUnavailable, match="WEBHOOKS_DATABASE_WAIT") as caught:
        async with store.lifespan():
            pass
    assert time.monotonic() - started >= 1
    assert "hidden-word" not in str(caught.value) + caplog.text + repr(store.database.info)


@contextmanager
def hanging_up() -> Generator[tuple[int, list[object]]]:
    """A port that ends every connection at once, and these connections."""
    connections: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    peer, address = server.accept()
                    peer.close()
                    connections.append(address)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], connections
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


async def test_start_does_not_call_a_server_that_hangs_up_again_and_again() -> None:
    with hanging_up() as (port, connections):
        store = PostgreSQLStore(f"postgresql://ada@127.0.0.1:{port}/shop", patience=1)
        with pytest.raises(BackendUnavailable):
            async with store.lifespan():
                pass
    # Twice a second, with and without TLS.
    assert len(connections) <= 8


async def test_positions_that_were_restored_wrongly_are_logged_and_fail_the_emit(
    postgresql_url: str, postgresql_schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema)
    async with store.lifespan():
        for _ in range(3):
            await emit(store)
        with psycopg.connect(postgresql_url, autocommit=True) as admin:
            admin.execute("SELECT setval(%s, 1)", (f"{postgresql_schema}.event_seq",))
        with caplog.at_level(logging.ERROR), pytest.raises(BackendUnavailable, match="duplicate key"):
            await emit(store)
        # Other calls succeed, but the problem remains.
        assert len(await ids(store)) == 3
        assert "Has a backup been restored over existing tables?" in str(store.health().get("problem"))
        assert caplog.text.count("Has a backup been restored over existing tables?") == 1
        with psycopg.connect(postgresql_url, autocommit=True) as admin:
            admin.execute("SELECT setval(%s, 3)", (f"{postgresql_schema}.event_seq",))
        await emit(store)
        assert store.health().get("problem") is None


async def test_positions_that_were_restored_wrongly_make_events_of_hosts_wait(
    postgresql_url: str, postgresql_schema: str
) -> None:
    backend = PostgreSQLBackend(make_settings(database=postgresql_url, database_schema=postgresql_schema))
    store = backend.store
    async with backend.lifespan(EventTypes()):
        before = await emit(store)
        with psycopg.connect(postgresql_url, autocommit=True) as admin:
            admin.execute("SELECT setval(%s, 1, false)", (f"{postgresql_schema}.event_seq",))
        sent = event()
        await to_thread.run_sync(leave_in_outbox, postgresql_url, postgresql_schema, sent)
        await eventually(lambda: "duplicate key" in str(store.health().get("problem")))
        with psycopg.connect(postgresql_url, autocommit=True) as admin:
            admin.execute("SELECT setval(%s, 1)", (f"{postgresql_schema}.event_seq",))
        await eventually(partial(store.get_event, "acme", sent.id))
        assert await ids(store) == [sent.id, before.id]
        assert store.health().get("problem") is None


@pytest.mark.slow  # An idle process finds the event within two seconds, and the pauses are half a second.
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_events_of_hosts_that_cannot_be_moved_are_tried_twice_a_second(
    postgresql_url: str, postgresql_schema: str
) -> None:
    backend = PostgreSQLBackend(make_settings(database=postgresql_url, database_schema=postgresql_schema))
    async with backend.lifespan(EventTypes()):
        with psycopg.connect(postgresql_url, autocommit=True) as admin:
            admin.execute(f"CREATE SEQUENCE {postgresql_schema}.tries")
            admin.execute(
                f"CREATE FUNCTION {postgresql_schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"PERFORM nextval('{postgresql_schema}.tries'); RAISE 'Full.' USING ERRCODE = 'disk_full'; END $$"
            )
            admin.execute(
                f"CREATE TRIGGER refuse BEFORE DELETE ON {postgresql_schema}.outbox "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {postgresql_schema}.refuse()"
            )
            sent = event()
            await to_thread.run_sync(leave_in_outbox, postgresql_url, postgresql_schema, sent)

            def tries() -> int:
                row = admin.execute(f"SELECT last_value, is_called FROM {postgresql_schema}.tries").fetchone()
                assert row is not None
                return int(row[0]) if row[1] else 0

            await eventually(tries)
            before, began = tries(), time.monotonic()
            await eventually(lambda: tries() >= before + 2)
            assert time.monotonic() - began >= 0.5
            admin.execute(f"DROP TRIGGER refuse ON {postgresql_schema}.outbox")
        await eventually(partial(backend.store.get_event, "acme", sent.id))


async def test_event_for_svix_that_a_trigger_refuses_fails_at_once(postgresql_url: str, postgresql_schema: str) -> None:
    outbox = PostgreSQLOutbox(
        postgresql_url,
        clock=time.time,
        retention=60,
        max_events=100,
        max_bytes=1_000_000,
        schema=postgresql_schema,
        deadline=60,
    )
    async with outbox.lifespan(lambda fresh: None):
        with psycopg.connect(postgresql_url, autocommit=True) as connection:
            connection.execute(
                f"CREATE FUNCTION {postgresql_schema}.refuse() RETURNS trigger LANGUAGE plpgsql "
                "AS $$ BEGIN RAISE 'Not this one.'; END $$"
            )
            connection.execute(
                f"CREATE TRIGGER refuse BEFORE INSERT ON {postgresql_schema}.svix_outbox "
                f"FOR EACH ROW EXECUTE FUNCTION {postgresql_schema}.refuse()"
            )
        with anyio.fail_after(20), pytest.raises(BackendUnavailable, match="Not this one"):
            await outbox.submit([event()]).wait()


async def test_attempt_that_a_trigger_refuses_fails_alone(postgresql_url: str, postgresql_schema: str) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema)
    errors: list[str] = []

    async def try_to_record(delivery: LeasedDelivery, status: int) -> None:
        try:
            await record(store, delivery, status)
        except BackendRefused as exc:
            errors.append(str(exc))

    async with store.lifespan():
        with psycopg.connect(postgresql_url, autocommit=True) as admin:
            admin.execute(
                f"CREATE FUNCTION {postgresql_schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN RAISE EXCEPTION 'no teapots'; END$$"
            )
            admin.execute(
                f"CREATE TRIGGER refuse BEFORE INSERT ON {postgresql_schema}.attempt FOR EACH ROW "
                f"WHEN (NEW.status_code = 418) EXECUTE FUNCTION {postgresql_schema}.refuse()"
            )
        await add(store)
        for _ in range(3):
            await emit(store)
        async with anyio.create_task_group() as tasks:
            for delivery, status in zip((await claim(store, each=3)).deliveries, (200, 418, 200), strict=True):
                tasks.start_soon(try_to_record, delivery, status)
        assert [one.status_code for one in await attempts(store)] == [200, 200]
    assert len(errors) == 1
    assert "no teapots" in errors[0]


@pytest.mark.parametrize("lacking", [no_free_descriptors, no_free_threads])
async def test_without_descriptors_or_threads_an_attempt_is_recorded_later(
    postgresql_url: str, postgresql_schema: str, lacking: Callable[[], AbstractContextManager[None]]
) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema, deadline=1)
    async with store.lifespan():
        await add(store)
        await emit(store)
        (delivery,) = (await claim(store)).deliveries
        with lacking(), pytest.raises(BackendUnavailable, match="cannot be reached"):
            # The first attempt to be recorded, so its connection is not open yet.
            await record(store, delivery)

        async def recorded() -> bool:
            with suppress(BackendUnavailable):
                await record(store, delivery)
            return bool(await attempts(store))

        assert await eventually(recorded)
