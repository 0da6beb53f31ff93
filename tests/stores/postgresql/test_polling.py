"""How often an idle process queries the server, without `LISTEN` and behind a pooler."""

from __future__ import annotations

import time
from functools import partial
from statistics import median

import anyio
import pytest
from anyio import to_thread

from starlette_webhooks.backends.postgresql import PostgreSQLBackend
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.streams import StreamHub
from tests.eventually import eventually
from tests.postgresql import DelayingProxy, delaying
from tests.receivers import receiving
from tests.settings import make_settings
from tests.stores.contract import add, emit, event
from tests.stores.postgresql.outboxes import leave_in_outbox
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


async def test_idle_process_asks_once_a_second_and_ten_times_with_open_streams_while_hosts_use_the_outbox(
    pgbouncer_url: str, postgresql_schema: str
) -> None:
    with delaying(pgbouncer_url, 0) as (url, proxy):
        settings = make_settings(database=url, database_schema=postgresql_schema)
        backend = PostgreSQLBackend(settings)
        hub = StreamHub(backend, settings)
        backend.listen(hub)
        async with backend.lifespan(EventTypes()), hub.running():
            # Deliveries would be calls of their own.
            await add(backend.store, event_types=["nothing.emitted"])
            # What happens once at the start may fall into the first of these.
            idle = [await calls(proxy) for _ in range(2)]
            # Deliveries and the outbox of hosts' transactions in one.
            assert 1 <= min(idle) <= SECONDS, idle
            async with reading(hub) as reader:
                sent = event()
                await to_thread.run_sync(leave_in_outbox, pgbouncer_url, postgresql_schema, sent)
                await eventually(lambda: sent.id.encode() in reader.body)
                assert SECONDS * 5 <= await calls(proxy) <= SECONDS * 10


@pytest.mark.parametrize("delivers", [True, False])
async def test_outbox_in_use_is_looked_at_more_often(
    postgresql_url: str, postgresql_schema: str, delivers: bool
) -> None:
    settings = make_settings(database=postgresql_url, database_schema=postgresql_schema, deliver=delivers)
    backend = PostgreSQLBackend(settings)
    async with backend.lifespan(EventTypes()):
        delays = []
        for _ in range(6):
            sent = event()
            await to_thread.run_sync(leave_in_outbox, postgresql_url, postgresql_schema, sent)
            began = time.monotonic()
            await eventually(partial(backend.store.get_event, "acme", sent.id))
            delays.append(time.monotonic() - began)
            await anyio.sleep(0.1)
        # Only the first one waits for up to a second.
        assert median(delays[1:]) < 0.6, delays


async def test_deliveries_of_a_process_that_does_not_deliver_start_soon(
    postgresql_url: str, postgresql_schema: str
) -> None:
    worker, emitter = (
        PostgreSQLBackend(make_settings(database=postgresql_url, database_schema=postgresql_schema, deliver=delivers))
        for delivers in (True, False)
    )
    with receiving() as receiver:
        async with worker.lifespan(EventTypes()), emitter.lifespan(EventTypes()):
            endpoint = await add(emitter.store, url=receiver.url)
            delays = []
            for number in range(6):
                began = time.monotonic()
                sent = await emit(emitter.store, milliseconds=emitter.event_time())
                await eventually(lambda expected=number: len(receiver.requests) > expected)  # type: ignore[misc]
                delays.append(receiver.requests[-1].at - began)
                await anyio.sleep(0.1)
            assert median(delays[1:]) < 0.6, delays
            # So do those that a person asks for.
            handovers = f"SELECT last_value FROM {postgresql_schema}.handover_seq"
            before = await emitter.store.database.call(handovers)
            began = time.monotonic()
            assert await emitter.store.resend("acme", sent.id, endpoint.id)
            assert await emitter.store.database.call(handovers) > before
            await eventually(lambda: len(receiver.requests) == 7)
            assert receiver.requests[-1].at - began < 0.8


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
