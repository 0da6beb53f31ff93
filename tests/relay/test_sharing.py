"""One relay for all machines, from an outbox in PostgreSQL. Another process takes over safely."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import anyio
import pytest

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.stores.postgresql.outbox import PostgreSQLOutbox
from tests.eventually import eventually
from tests.postgresql import PostgreSQL
from tests.relay.target import Target, make, relaying
from tests.servers import ROOT

MakeOutbox: TypeAlias = Callable[..., PostgreSQLOutbox]


@pytest.fixture
def make_outbox(postgresql_url: str, migrated_schema: str) -> MakeOutbox:
    """Makes an outbox. All of them use the same schema, like those of several machines."""

    def make_one(**options: Any) -> PostgreSQLOutbox:
        values: dict[str, Any] = {"clock": time.time, "retention": 86_400, "max_events": 1000, "max_bytes": 10_000_000}
        return PostgreSQLOutbox(postgresql_url, schema=migrated_schema, **{**values, **options})

    return make_one


async def put(outbox: PostgreSQLOutbox, events: Sequence[Event]) -> None:
    await outbox.submit(events).wait()


async def test_two_machines_emit_and_one_of_them_relays_all_in_order(make_outbox: MakeOutbox) -> None:
    one, two = make_outbox(), make_outbox()
    target, other = Target(), Target()
    async with relaying(one, target) as first:
        await eventually(lambda: first.relaying)
        async with relaying(two, other) as second:
            for number in range(0, 40, 2):
                await put(one, [make("acme", number)])
                await put(two, [make("acme", number + 1)])
            await eventually(lambda: len(target.taken) == 40)
            assert target.numbers("acme") == list(range(40))
            assert other.taken == []
            assert (first.relaying, second.relaying) == (True, False)


async def test_a_process_that_ends_leaves_the_relay_to_the_next_one(make_outbox: MakeOutbox) -> None:
    # Otherwise, the next one would wait for the end of a lease of a minute.
    one, two = make_outbox(lease=60), make_outbox(lease=0.6)
    other = Target()
    async with relaying(one, Target()) as first:
        await eventually(lambda: first.relaying)
    async with relaying(two, other) as second:
        await put(two, [make("acme")])
        await eventually(lambda: second.relaying and other.numbers("acme") == [0])


async def test_records_of_a_process_that_lost_the_relay_are_refused(make_outbox: MakeOutbox) -> None:
    one, two = make_outbox(lease=0.1), make_outbox(lease=0.1)
    async with one.lifespan(lambda fresh: None), two.lifespan(lambda fresh: None):
        await put(one, [make("acme", 0), make("acme", 1)])
        # It was suspended, and its own clock does not show yet that the lease has ended.
        stopped = one.lock(TimeSource(monotonic=lambda: 0.0))
        await stopped.acquire()
        (entry, later) = await one.next("acme", 2)
        lock = two.lock(TimeSource())
        await lock.acquire()
        assert stopped.held
        with pytest.raises(BackendUnavailable, match="Another process relays"):
            await (await one.accept(entry, entry.event, check_at=None)).wait()
        with pytest.raises(BackendUnavailable, match="Another process relays"):
            await (await one.dead_letter(later, "late", "")).wait()
        assert await two.next("acme", 2) == [entry, later]
        await (await two.accept(entry, entry.event, check_at=None)).wait()
        assert await two.next("acme", 2) == [later]


async def test_a_process_that_lost_the_relay_forwards_nothing_more_and_says_so(
    make_outbox: MakeOutbox, migrated_schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = make_outbox(lease=0.3), make_outbox()
    target = Target()
    target.gate = anyio.Event()
    async with relaying(one, target) as relay:
        await put(one, [make("acme", number) for number in range(5)])
        await eventually(lambda: target.calls)
        async with two.lifespan(lambda fresh: None):
            await two.database.call(f"UPDATE {migrated_schema}.relay {TAKEN}")
            await eventually(lambda: not relay.relaying)
            target.gate.set()
            await eventually(lambda: "Another process relays now" in caplog.text)
            assert target.numbers("acme") == []
            assert len(await two.next("acme", 5)) == 5


# As another process does it once the lease is over.
TAKEN = "SET holder = 'another', term = term + 1, until = clock_timestamp() + interval '1 hour'"


async def restart(server: PostgreSQL) -> None:
    await anyio.to_thread.run_sync(server.restart)


@pytest.mark.slow  # A server is started and restarted.
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_relay_continues_after_a_restart_of_the_server(own_postgresql: PostgreSQL) -> None:
    outbox = PostgreSQLOutbox(
        own_postgresql.url, clock=time.time, retention=86_400, max_events=1000, max_bytes=10_000_000, deadline=30
    )
    target = Target()
    async with relaying(outbox, target):
        await put(outbox, [make("acme", 0)])
        await eventually(lambda: target.numbers("acme") == [0])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(restart, own_postgresql)
            for number in range(1, 20):
                # Events that are emitted meanwhile wait for the server, up to the deadline of an emit.
                await put(outbox, [make("acme", number)])
        await eventually(lambda: target.numbers("acme")[-1:] == [19], within=15)
        assert list(dict.fromkeys(target.numbers("acme"))) == list(range(20))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # Running the processes on both loops would only take longer.
async def test_a_process_that_dies_or_is_suspended_is_replaced_within_5_seconds(
    make_outbox: MakeOutbox, postgresql_url: str, migrated_schema: str, how: signal.Signals
) -> None:
    outbox, target = make_outbox(), Target()
    command = [sys.executable, "-m", "tests.relay.child", postgresql_url, migrated_schema]
    async with outbox.lifespan(lambda fresh: None):
        await put(outbox, [make("acme", number) for number in range(300)])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:  # noqa: ASYNC220
        assert child.stdout is not None
        try:
            forwarded = [int(await anyio.to_thread.run_sync(child.stdout.readline)) for _ in range(30)]
            async with relaying(outbox, target):
                os.kill(child.pid, how)
                died = time.monotonic()
                await eventually(lambda: target.taken, within=8)
                assert time.monotonic() - died < 5
                await eventually(lambda: target.numbers("acme")[-1:] == [299], within=8)
                # It continues, and finds that it no longer relays.
                os.kill(child.pid, signal.SIGCONT)
                await put(outbox, [make("acme", 300)])
                await eventually(lambda: target.numbers("acme")[-1:] == [300], within=8)
        finally:
            child.kill()
        forwarded += [int(line) for line in child.stdout]
    mine = target.numbers("acme")
    assert mine == list(range(mine[0], 301))
    assert forwarded == list(range(len(forwarded)))
    # Events that were being forwarded are forwarded again. The target recognises them by their ids. None is missing.
    assert len(forwarded) - 20 <= mine[0] <= len(forwarded)
