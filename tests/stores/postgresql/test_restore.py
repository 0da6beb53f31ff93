"""A server that returns with an earlier state, after a restore or a failover, while streams are open."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
from anyio import to_thread

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from starlette_webhooks.streams import StreamHub
from tests.eventually import eventually
from tests.postgresql import PostgreSQL
from tests.settings import make_settings
from tests.stores.contract import event
from tests.streams.feed import Reader, reading

# The tail only reads when woken, so not before the log has grown beyond the lost events.
NEVER = 3600.0


@asynccontextmanager
async def streaming(server: PostgreSQL) -> AsyncGenerator[tuple[PostgreSQLStore, PostgreSQLStore, StreamHub]]:
    """A process with streams, and another one that also emits."""
    here = PostgreSQLStore(server.url, deadline=20, poll=NEVER)
    other = PostgreSQLStore(server.url, deadline=20)
    hub = StreamHub(here, make_settings())
    here.listen(hub)
    async with here.lifespan(), other.lifespan(), hub.running():
        yield here, other, hub


async def emit(store: PostgreSQLStore, *numbers: int) -> list[str]:
    """Store an event for each number, one after another, and return their ids."""
    stored = []
    for number in numbers:
        # Without a pause, the lost events might not be the newest ones by their time.
        await anyio.sleep(0.002)
        stored.append(await eventually(partial(_emit, store, number)))
    return stored


async def _emit(store: PostgreSQLStore, number: int) -> str | None:
    try:
        (one,) = await store.submit([event(data={"number": number})]).wait()
    except BackendUnavailable:
        # Refused while the server is known to be away.
        return None
    return one.id


def gaps(reader: Reader) -> list[str]:
    """Return the ids in the stream's gaps."""
    blocks = [block for block in reader.blocks if block.fields.get("event") == "gap"]
    return [json.loads(block.fields["data"])["requested"] for block in blocks]


async def test_open_stream_gets_a_gap_and_misses_no_new_event(own_postgresql: PostgreSQL) -> None:
    server = own_postgresql
    async with streaming(server) as (here, other, hub), reading(hub) as reader:
        await emit(here, 0)
        await to_thread.run_sync(server.save)
        *_, last = await emit(here, 1, 2)
        await eventually(lambda: reader.numbers == [0, 1, 2])

        await to_thread.run_sync(server.restore)
        # These get the positions of the lost ones, so that the next event follows the stream's position.
        await emit(other, 3, 4)
        await emit(here, 5)
        await eventually(lambda: reader.numbers == [0, 1, 2, 3, 4, 5])
        assert gaps(reader) == [last]


async def test_stream_does_not_notice_a_restart_that_loses_nothing(own_postgresql: PostgreSQL) -> None:
    async with streaming(own_postgresql) as (here, other, hub), reading(hub) as reader:
        await emit(here, 0)
        await eventually(lambda: reader.numbers == [0])
        await to_thread.run_sync(own_postgresql.restart)
        await emit(other, 1)
        await emit(here, 2)
        await eventually(lambda: reader.numbers == [0, 1, 2])
        assert gaps(reader) == []
        assert hub.metrics()["lagged"] == 0


async def test_streams_continue_after_a_restart_if_their_last_event_was_erased(own_postgresql: PostgreSQL) -> None:
    async with streaming(own_postgresql) as (here, other, hub), reading(hub) as reader:
        await emit(here, 0)
        (last,) = await here.submit([event("globex")]).wait()
        async with reading(hub, tenant="globex"):
            await here.erase("globex")
            await to_thread.run_sync(own_postgresql.restart)
            await emit(other, 1)
            await emit(here, 2)
            await eventually(lambda: reader.numbers == [0, 1, 2])
        assert gaps(reader) == []
