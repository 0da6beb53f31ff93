"""How often a claim calls the server."""

from __future__ import annotations

import pytest

from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from tests.clock import Clock
from tests.postgresql import delaying
from tests.stores.contract import add, claim, emit, number_of, record


@pytest.fixture
def anyio_backend() -> str:
    """One event loop: the calls are the same on both."""
    return "asyncio"


async def test_a_claim_is_one_call_unless_something_delays_an_endpoint(
    postgresql_url: str, postgresql_schema: str
) -> None:
    clock = Clock()
    with delaying(postgresql_url, 0) as (url, proxy):
        store = PostgreSQLStore(url, schema=postgresql_schema, clock=clock)
        async with store.lifespan():
            free = [await number_of(store, await add(store)) for _ in range(2)]
            limited = await number_of(store, await add(store, rate_limit=1))
            failing = await number_of(store, await add(store))
            await emit(store)
            for first in (await claim(store, failing, *free)).deliveries:
                await record(store, first, 500 if first.endpoint == failing else 200)
            clock.advance(ms=60_000)
            await emit(store)

            async def claimed(*endpoints: int) -> tuple[dict[int, int], int]:
                before = proxy.round_trips
                found = await claim(store, *endpoints)
                counts = {
                    number: sum(one.endpoint == number for one in found.deliveries)
                    for number in {one.endpoint for one in found.deliveries}
                }
                return counts, proxy.round_trips - before

            assert await claimed(free[0]) == ({free[0]: 1}, 1)
            assert await claimed(free[1], limited, failing) == ({free[1]: 1, limited: 1, failing: 1}, 2)
            assert await claimed(*free) == ({}, 1)


async def test_a_scan_looks_at_as_many_endpoints_as_were_asked_for(postgresql_url: str, postgresql_schema: str) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema)
    async with store.lifespan():
        for number in range(5):
            await add(store, f"t{number}")
            await emit(store, f"t{number}")
        for asked, found in ((3, 3), (9, 6)):
            statement = f"SELECT number FROM {postgresql_schema}.due_6(0, {asked}, %s)"
            # The last row, without an endpoint, says that there are no more.
            assert len(await store.database.call(statement, (store.now(),))) == found
