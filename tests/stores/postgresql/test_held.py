"""A transaction that somebody holds open, so that no deleted row is cleaned up."""

from __future__ import annotations

import anyio
import psycopg
import pytest

from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from tests.clock import Clock
from tests.stores.contract import add, claim, due, event, number_of, record

DELIVERED = 1500


@pytest.fixture
def anyio_backend() -> str:
    """One event loop, because this is about the server."""
    return "asyncio"


async def pages(store: PostgreSQLStore, schema: str) -> int:
    """Return how many pages of deliveries and their indexes the server has read."""
    # Use the last connection, because it has not reported its statistics yet.
    await store.database.call("SELECT pg_stat_force_next_flush()")
    statement = (
        "SELECT heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit FROM pg_statio_user_tables "
        "WHERE relname = 'delivery' AND schemaname = %s"
    )
    ((count,),) = await store.database.call(statement, (schema,))
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
