"""A transaction that somebody holds open, so that no deleted row is cleaned up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import psycopg
import pytest
from anyio import to_thread

from starlette_webhooks.events import Event
from starlette_webhooks.outbox.horizon import Horizon
from starlette_webhooks.outbox.rows import to_row
from starlette_webhooks.stores.postgresql.moving import OutboxMover
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from tests.clock import Clock
from tests.eventually import eventually
from tests.stores.contract import add, claim, due, event, number_of, record

DELIVERED = 1500
MOVED = 1500


@pytest.fixture
def anyio_backend() -> str:
    """One event loop, because this is about the server."""
    return "asyncio"


async def pages(store: PostgreSQLStore, schema: str, table: str = "delivery") -> int:
    """Return how many pages of a table and its indexes the server has read."""
    # Use the last connection, because it has not reported its statistics yet.
    await store.database.call("SELECT pg_stat_force_next_flush()")
    statement = (
        "SELECT heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit FROM pg_statio_user_tables "
        "WHERE relname = %s AND schemaname = %s"
    )
    ((count,),) = await store.database.call(statement, (table, schema))
    return int(count)


async def test_claim_does_not_walk_over_what_was_delivered_while_a_transaction_is_open(
    postgresql_url: str, postgresql_schema: str
) -> None:
    clock = Clock()
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema, clock=clock)
    async with store.lifespan():
        number = await number_of(store, await add(store))
        with psycopg.connect(postgresql_url) as holder:
            holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            holder.execute(f"SELECT count(*) FROM {postgresql_schema}.delivery")
            await store.submit([event() for _ in range(DELIVERED)]).wait()
            done = 0
            while deliveries := (await claim(store, number, each=100)).deliveries:
                async with anyio.create_task_group() as tasks:
                    for one in deliveries:
                        tasks.start_soon(record, store, one)
                done += len(deliveries)
            assert done == DELIVERED
            await due(store)
            costs = []
            for _ in range(3):
                clock.advance(ms=10_000)
                await store.submit([event(milliseconds=store.now())]).wait()
                before = await pages(store, postgresql_schema)
                (delivery,) = (await claim(store, number)).deliveries
                costs.append(await pages(store, postgresql_schema) - before)
                await record(store, delivery)
            # The first claim may read everything once.
            assert costs[-1] < 100, costs


class Host:
    """A host that commits events in the outbox of the store's database, and what moves them."""

    def __init__(self, url: str, schema: str, store: PostgreSQLStore) -> None:
        self._schema = schema
        self._connection = psycopg.connect(url)
        self._store = store
        self.moved: list[str] = []
        self.clock = Clock(speed=0)
        self.horizon = Horizon(self.clock.monotonic, margin=0)
        self.mover = OutboxMover(
            store.database,
            self.horizon,
            process="host",
            delivers=False,
            due_in=0,
            on_moved=lambda batch: self.moved.extend(batch.ids),
        )

    def insert(self, connection: psycopg.Connection, *events: Event) -> None:
        rows = [to_row(one) for one in events]
        connection.cursor().executemany(
            f"INSERT INTO {self._schema}.outbox (id, tenant, body) VALUES (%s, %s, %s)",
            [(row.id, row.tenant, row.body) for row in rows],
        )

    async def commit(self, *events: Event) -> None:
        """Commit events, and wait until they are moved and the mover has looked again, a little later."""
        await to_thread.run_sync(self.insert, self._connection, *events)
        await to_thread.run_sync(self._connection.commit)
        self.clock.advance(1)
        self.mover.wake(True)
        await eventually(lambda: {one.id for one in events} <= set(self.moved))

    async def pages(self) -> int:
        return await pages(self._store, self._schema, "outbox")

    def close(self) -> None:
        self._connection.close()


@asynccontextmanager
async def hosting(url: str, schema: str) -> AsyncIterator[Host]:
    store = PostgreSQLStore(url, schema=schema)
    async with store.lifespan(), anyio.create_task_group() as tasks:
        host = Host(url, schema, store)
        tasks.start_soon(host.mover.run)
        try:
            yield host
        finally:
            tasks.cancel_scope.cancel()
            host.close()


@pytest.mark.parametrize("writes", [True, False])
async def test_mover_does_not_walk_over_what_was_moved_while_a_transaction_is_open(
    postgresql_url: str, postgresql_schema: str, writes: bool
) -> None:
    async with hosting(postgresql_url, postgresql_schema) as host:
        with psycopg.connect(postgresql_url) as holder:
            holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            holder.execute(f"SELECT count(*) FROM {postgresql_schema}.outbox")
            if writes:
                host.insert(holder, event())
            await host.commit(*[event() for _ in range(MOVED)])
            costs = []
            for _ in range(6):
                before = await host.pages()
                await host.commit(event())
                costs.append(await host.pages() - before)
            # The first reads may walk over everything.
            assert costs[-1] < 100, costs


async def test_event_of_a_transaction_that_was_open_for_long_is_moved_before_those_that_began_after_it(
    postgresql_url: str, postgresql_schema: str
) -> None:
    async with hosting(postgresql_url, postgresql_schema) as host:
        late, later = event(), event()
        with psycopg.connect(postgresql_url) as holder:
            host.insert(holder, late)
            for _ in range(4):
                await host.commit(event())
            assert len(host.horizon.start.numbers) == 1
            holder.commit()
        await host.commit(later)
        assert host.moved.index(late.id) < host.moved.index(later.id)
