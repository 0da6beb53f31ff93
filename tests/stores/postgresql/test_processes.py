"""Several processes on one PostgreSQL: the order of commits, and processes that are slow, stopped or killed."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from functools import partial

import anyio
import psycopg
import pytest
from anyio import to_thread

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from tests.eventually import eventually
from tests.postgresql import delaying
from tests.stores.contract import add, attempts, claim, emit, event, ids, record
from tests.stores.postgresql.processes import line, lines, process, say

PROCESSES, EVENTS = 3, 40


@pytest.fixture
def anyio_backend() -> str:
    """One event loop: the other processes have their own."""
    return "asyncio"


@pytest.mark.slow
async def test_streams_of_all_processes_get_all_events_once_and_in_one_order(
    postgresql_url: str, postgresql_schema: str
) -> None:
    async with PostgreSQLStore(postgresql_url, schema=postgresql_schema).lifespan():
        pass
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        # Transactions take a random time, so that later ones could overtake them.
        connection.execute(
            f"CREATE FUNCTION {postgresql_schema}.dawdle() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_sleep(random() * 0.02); RETURN NULL; END'"
        )
        connection.execute(
            f"CREATE TRIGGER dawdle AFTER INSERT ON {postgresql_schema}.event "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {postgresql_schema}.dawdle()"
        )
    total = PROCESSES * EVENTS
    with ExitStack() as stack:
        run = partial(process, "share", postgresql_url, postgresql_schema, EVENTS)
        processes = [stack.enter_context(run()) for _ in range(PROCESSES)]
        for one in processes:
            assert await to_thread.run_sync(line, one) == "following"
        for one in processes:
            say(one, str(total))
        printed = [[text.split() for text in await to_thread.run_sync(lines, one)] for one in processes]
    sent = [parts[0] for own in printed for parts in own if len(parts) == 1]
    streams = [[(int(parts[0]), parts[1]) for parts in own if len(parts) == 2] for own in printed]
    assert len(set(sent)) == total
    for stream in streams:
        assert stream == streams[0]
    assert [position for position, _ in streams[0]] == list(range(1, total + 1))
    assert sorted(identifier for _, identifier in streams[0]) == sorted(sent)


@pytest.mark.slow
async def test_events_that_a_killed_process_reported_as_stored_are_there(
    postgresql_url: str, postgresql_schema: str
) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema)
    async with store.lifespan():
        said: list[str] = []
        for _ in range(2):
            with process("emit", postgresql_url, postgresql_schema, 100_000) as emitter:
                said += [await to_thread.run_sync(line, emitter) for _ in range(30)]
                emitter.kill()
                said += [one for one in await to_thread.run_sync(lines, emitter) if len(one) == len(said[0])]
            # Nothing of it delays the others.
            said.append((await emit(store)).id)
        with psycopg.connect(postgresql_url) as connection:
            stored = {row[0] for row in connection.execute(f"SELECT id FROM {postgresql_schema}.event")}
        assert set(said) <= stored


async def test_lease_of_a_stopped_process_ends_and_its_late_record_does_no_harm(
    postgresql_url: str, postgresql_schema: str
) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema)
    async with store.lifespan():
        endpoint = await add(store)
        sent = await emit(store)
        with process("hold", postgresql_url, postgresql_schema, 1500) as holder:
            assert await to_thread.run_sync(line, holder) == sent.id
            holder.send_signal(signal.SIGSTOP)

            async def taken_over() -> list[str]:
                deliveries = (await claim(store)).deliveries
                for one in deliveries:
                    await record(store, one, 500, next_due=store.now() + 60_000)
                return [one.event_id for one in deliveries]

            assert await eventually(taken_over) == [sent.id]
            holder.send_signal(signal.SIGCONT)
            say(holder, "")
            assert await to_thread.run_sync(line, holder) == "recorded"
        # Both attempts were made, and the retry after the second one is still due.
        assert sorted(one.status for one in await attempts(store, endpoint_id=endpoint.id)) == ["fail", "success"]
        with psycopg.connect(postgresql_url) as connection:
            waiting = connection.execute(f"SELECT attempt FROM {postgresql_schema}.delivery").fetchall()
        assert waiting == [(2,)]


@pytest.mark.parametrize("delay", [0.001, 0.005])
async def test_group_commit_is_one_round_trip(postgresql_url: str, postgresql_schema: str, delay: float) -> None:
    with delaying(postgresql_url, delay) as (url, proxy):
        store = PostgreSQLStore(url, schema=postgresql_schema)
        async with store.lifespan():
            await add(store)
            await emit(store)
            before = proxy.round_trips
            for number in range(10):
                await store.submit([event() for _ in range(8)]).wait()
                # With an event id and channels, another statement is used.
                await emit(store, event_id=f"invoice-{number}", channels=["billing"])
            assert proxy.round_trips == before + 20


async def test_process_that_vanishes_during_a_commit_delays_no_other(
    postgresql_url: str, postgresql_schema: str
) -> None:
    other = PostgreSQLStore(postgresql_url, schema=postgresql_schema, deadline=5)
    with delaying(postgresql_url, 0.005) as (url, proxy):
        store = PostgreSQLStore(f"{url}?connect_timeout=2", schema=postgresql_schema, deadline=2)
        async with store.lifespan(), other.lifespan():
            await emit(store)
            before = proxy.requests
            waiting = store.submit([event()])
            # The server has received the call, but its response is lost.
            await eventually(lambda: proxy.requests > before)
            proxy.black = True
            # Less than the deadline of the call that hangs.
            with anyio.fail_after(1.9):
                for _ in range(10):
                    await emit(other)
            with pytest.raises(BackendUnavailable, match="unknown whether"):
                await waiting.wait()
            proxy.black = False
            # The response was lost, but the event is stored.
            assert len(await ids(other)) == 12
