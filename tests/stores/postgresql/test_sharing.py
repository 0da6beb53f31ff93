"""Several processes on one PostgreSQL: order, hints, and a pooler in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import anyio
import psycopg
import pytest

from starlette_webhooks.events import EventQuery
from starlette_webhooks.feed import Entry, StreamFilter
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from tests.clock import Clock
from tests.eventually import eventually
from tests.forking import in_child
from tests.stores.contract import DAY, MINUTE, Listening, add, attempts, claim, emit, event, ids, record


class Ears:
    """A listener that collects positions and ids."""

    def __init__(self) -> None:
        self.tenants = {"acme"}
        self.entries: list[Entry] = []

    def publish(self, entries: Sequence[Entry]) -> None:
        self.entries += entries

    def restart(self) -> None:
        raise AssertionError("The log has lost nothing.")


async def test_stream_misses_nothing_while_several_stores_commit(postgresql_url: str, migrated_schema: str) -> None:
    first, second = (PostgreSQLStore(postgresql_url, schema=migrated_schema) for _ in range(2))
    ears = Ears()
    first.listen(ears)
    async with first.lifespan(), second.lifespan():
        first.watch("acme")
        await first.replay("acme", StreamFilter(), None)

        async def work(store: PostgreSQLStore) -> None:
            for _ in range(20):
                await store.submit([event() for _ in range(3)]).wait()

        async with anyio.create_task_group() as tasks:
            for store in (first, second, first, second):
                tasks.start_soon(work, store)
        await eventually(lambda: len(ears.entries) >= 240)
        positions = [entry.position for entry in ears.entries]
        assert positions == list(range(1, 241))


class Woken:
    """A `DeliveryListener` that collects endpoints."""

    def __init__(self) -> None:
        self.endpoints: list[int] = []

    def wake(self, endpoints: Iterable[int] = ()) -> None:
        self.endpoints.extend(endpoints)

    def wake_urgent(self, endpoints: Iterable[int]) -> None:
        self.endpoints.extend(endpoints)


async def test_hints_arrive_by_listen(
    postgresql_url: str, migrated_schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Without hints, it would not read for an hour.
    options = {"schema": migrated_schema, "poll": 3600.0, "poll_with_hints": 3600.0}
    reader = PostgreSQLStore(postgresql_url, listen_url=postgresql_url, **options)  # type: ignore[arg-type]
    writer = PostgreSQLStore(postgresql_url, delivers=False, **options)  # type: ignore[arg-type]
    ears = Ears()
    woken = Woken()
    reader.listen(ears)
    reader.on_deliveries(woken)
    async with reader.lifespan(), writer.lifespan():
        reader.watch("acme")
        await reader.replay("acme", StreamFilter(), None)
        await eventually(lambda: reader.health().get("hints"))
        await add(writer)
        sent = await emit(writer)
        await eventually(lambda: [entry.event.id for entry in ears.entries] == [sent.id])
        await eventually(lambda: woken.endpoints == [1])
    assert "It starts again" not in caplog.text, "no task failed and was hidden by its next start"


async def test_event_that_was_committed_before_hints_arrive_is_read_once_they_do(
    postgresql_url: str, migrated_schema: str
) -> None:
    role, server = f"hinted_{uuid4().hex[:8]}", urlsplit(postgresql_url)
    listen_url = urlunsplit(server._replace(netloc=f"{role}:p@{server.hostname}:{server.port}"))
    reader = PostgreSQLStore(
        postgresql_url, listen_url=listen_url, schema=migrated_schema, poll=3600.0, poll_with_hints=3600.0
    )
    writer = PostgreSQLStore(postgresql_url, schema=migrated_schema)
    ears = Ears()
    reader.listen(ears)
    with psycopg.connect(postgresql_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} SUPERUSER NOLOGIN PASSWORD 'p'")
        try:
            async with reader.lifespan(), writer.lifespan():
                reader.watch("acme")
                await reader.replay("acme", StreamFilter(), None)
                sent = [(await emit(writer)).id for _ in range(3)]
                admin.execute(f"ALTER ROLE {role} LOGIN")
                await eventually(lambda: [entry.event.id for entry in ears.entries] == sent)
        finally:
            admin.execute(f"DROP ROLE {role}")


def test_workers_of_a_preloaded_app_hear_hints_of_each_other(postgresql_url: str, migrated_schema: str) -> None:
    preloaded = PostgreSQLStore(postgresql_url, listen_url=postgresql_url, schema=migrated_schema)

    async def name() -> str:
        async with preloaded.lifespan():
            await eventually(lambda: preloaded.health().get("hints"))
            query = f"SELECT name FROM {migrated_schema}.listener"
            with psycopg.connect(postgresql_url, autocommit=True) as connection:
                ((found,),) = connection.execute(query).fetchall()
        return str(found)

    here = anyio.run(name)
    # Hints that a process sent itself are ignored.
    assert in_child(lambda: int(anyio.run(name) == here)) == 0


async def test_everything_works_behind_a_pooler_in_transaction_mode(pgbouncer_url: str, postgresql_schema: str) -> None:
    first, second = (PostgreSQLStore(pgbouncer_url, schema=postgresql_schema) for _ in range(2))
    ears = Ears()
    first.listen(ears)
    async with first.lifespan(), second.lifespan():
        first.watch("acme")
        await first.replay("acme", StreamFilter(), None)
        endpoint = await add(second)
        sent = [(await emit(store)).id for store in (second, first, second)]
        await eventually(lambda: [entry.event.id for entry in ears.entries] == sent)
        for delivery in (await claim(first, each=5)).deliveries:
            await record(first, delivery)
        assert len(await attempts(second, endpoint_id=endpoint.id)) == 3
        assert await ids(second) == sent[::-1]


async def test_commit_waits_for_the_disk_regardless_of_the_roles_default(
    postgresql_url: str, migrated_schema: str
) -> None:
    store = PostgreSQLStore(postgresql_url, schema=migrated_schema)
    async with store.lifespan():
        with psycopg.connect(postgresql_url, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = off")
            with connection.transaction():
                connection.execute(f"SELECT {migrated_schema}.be_durable_1()")
                row = connection.execute("SHOW synchronous_commit").fetchone()
    assert row == ("on",)


async def test_of_two_processes_that_decide_to_warn_a_customer_one_does(
    postgresql_url: str, migrated_schema: str
) -> None:
    clock = Clock()
    store = PostgreSQLStore(postgresql_url, schema=migrated_schema, clock=clock)
    blocked = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    async with store.lifespan():
        await add(store)
        await emit(store)
        (delivery,) = (await claim(store)).deliveries
        await record(store, delivery, 500, next_due=store.now(), disable_after=5 * DAY)
        clock.advance(ms=5 * DAY - MINUTE)
        (delivery,) = (await claim(store)).deliveries
        with (
            psycopg.connect(postgresql_url) as other,
            psycopg.connect(postgresql_url, autocommit=True) as watcher,
        ):
            other.execute(f"UPDATE {migrated_schema}.endpoint SET warned_at = %s", (store.now(),))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(record, store, delivery, 500, disable_after=5 * DAY))
                # It has decided by what it read before, and waits for the endpoint.
                await eventually(lambda: watcher.execute(blocked, (other.info.backend_pid,)).fetchone() is not None)
                other.commit()
        assert len(await attempts(store)) == 2
        events = (await store.list_events("acme", EventQuery())).items
    assert [one.type for one in events] == ["invoice.paid"]


async def test_the_dispatcher_is_woken_for_what_is_reported_to_the_operator(
    postgresql_url: str, migrated_schema: str
) -> None:
    store = PostgreSQLStore(postgresql_url, schema=migrated_schema)
    store.operator = "operations"
    async with store.lifespan():
        listening = Listening()
        store.on_deliveries(listening)
        before = listening.unknown
        await add(store)
        assert listening.unknown > before
