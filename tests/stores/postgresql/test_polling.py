"""How often an idle process queries the server, without `LISTEN` and behind a pooler."""

from __future__ import annotations

import anyio
import pytest

from starlette_webhooks.backends.postgresql import PostgreSQLBackend
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.streams import StreamHub
from tests.eventually import eventually
from tests.postgresql import DelayingProxy, delaying
from tests.settings import make_settings
from tests.stores.contract import add, event
from tests.streams.feed import reading

SECONDS = 2.0


@pytest.fixture
def anyio_backend() -> str:
    """One event loop, because the calls are the same on both."""
    return "asyncio"


async def calls(proxy: DelayingProxy) -> int:
    """How many calls the server gets for a while."""
    before = proxy.round_trips
    await anyio.sleep(SECONDS)
    return proxy.round_trips - before


async def test_idle_process_asks_twice_a_second_and_ten_times_with_open_streams(
    pgbouncer_url: str, postgresql_schema: str
) -> None:
    with delaying(pgbouncer_url, 0) as (url, proxy):
        settings = make_settings(database=url, database_schema=postgresql_schema)
        backend = PostgreSQLBackend(settings)
        hub = StreamHub(backend, settings)
        backend.listen(hub)
        async with backend.lifespan(EventTypes()), hub.running():
            await add(backend.store)
            # What happens once at the start may fall into the first of these.
            idle = [await calls(proxy) for _ in range(2)]
            # One for deliveries, and one for the outbox of hosts' transactions.
            assert 1 <= min(idle) <= SECONDS * 2 + 1, idle
            async with reading(hub) as reader:
                assert SECONDS * 5 <= await calls(proxy) <= SECONDS * 10
                (sent,) = await backend.store.submit([event()]).wait()
                await eventually(lambda: sent.id.encode() in reader.body)


async def test_commits_of_others_between_our_own_are_read_ten_times_a_second_at_most(
    pgbouncer_url: str, postgresql_schema: str
) -> None:
    with delaying(pgbouncer_url, 0) as (url, proxy):
        here = PostgreSQLBackend(make_settings(database=url, database_schema=postgresql_schema, deliver=False))
        other = PostgreSQLBackend(
            make_settings(database=pgbouncer_url, database_schema=postgresql_schema, deliver=False)
        )
        hub = StreamHub(here, here.settings)
        here.listen(hub)
        async with here.lifespan(EventTypes()), other.lifespan(EventTypes()), hub.running(), reading(hub) as reader:
            # Both are connected from here on.
            sent = [(await backend.store.submit([event()]).wait())[0].id for backend in (other, here)]
            before = proxy.round_trips
            end = anyio.current_time() + SECONDS
            own = 0
            while anyio.current_time() < end:
                for backend in (other, here):
                    (one,) = await backend.store.submit([event()]).wait()
                    sent.append(one.id)
                own += 1
            asked = proxy.round_trips - before - own
            assert asked <= SECONDS * 10
            await eventually(lambda: all(one.encode() in reader.body for one in sent))
