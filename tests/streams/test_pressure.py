"""Slow, stalled and disconnected readers, and their cost."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from starlette_webhooks.feed import StreamFilter
from starlette_webhooks.identifiers import mint
from starlette_webhooks.streams import StreamHub, Timing
from tests.clock import Clock
from tests.eventually import eventually
from tests.settings import make_settings
from tests.streams.feed import ALL, TENANT, Log, LogReplay, Reader, make_event, reading, running, settle

SMALL = 65_536


async def test_a_reader_that_fell_behind_reads_the_log_and_misses_nothing() -> None:
    log = Log()
    async with running(log, stream_buffer_bytes=SMALL) as hub, reading(hub) as slow, reading(hub) as quick:
        log.emit(0, size=5000)
        await eventually(lambda: slow.numbers)
        slow.stop()
        for number in range(1, 60):
            log.emit(number, size=5000)
            await eventually(partial(lambda number: quick.numbers[-1] == number, number))
        slow.gate.set()
        await eventually(lambda: slow.numbers[-1] == 59)
        log.emit(60)
        await eventually(lambda: slow.numbers[-1] == quick.numbers[-1] == 60)
        assert hub.metrics()["lagged"] == 1
        assert hub.metrics()["bufferBytes"] <= SMALL
    assert slow.numbers == quick.numbers == list(range(61))
    assert [type(after) for after in log.replays] == [type(None), type(None), int]


async def test_a_reader_that_fell_behind_before_its_first_event_misses_nothing() -> None:
    log = Log()
    async with running(log, stream_buffer_bytes=SMALL) as hub, reading(hub) as reader:
        for number in range(60):
            log.commit(make_event(number, size=5000))
        log.publish()
        await eventually(lambda: len(reader.numbers) == 60)
    assert reader.numbers == list(range(60))


async def test_a_reader_that_fell_behind_before_its_first_event_gets_nothing_from_before_its_start() -> None:
    log = Log()
    async with running(log, stream_buffer_bytes=SMALL) as hub:
        for number in range(2):
            log.commit(make_event(number))
        async with reading(hub) as reader:
            for number in range(2, 60):
                log.commit(make_event(number, size=5000))
            log.publish()
            await eventually(lambda: reader.numbers[-1:] == [59])
            assert hub.metrics()["lagged"] == 1
    assert reader.numbers == list(range(2, 60))


async def test_events_larger_than_the_memory_for_streams_still_arrive() -> None:
    log = Log()
    async with running(log, stream_buffer_bytes=SMALL) as hub, reading(hub) as reader:
        for number in range(3):
            log.emit(number, size=100_000)
        await eventually(lambda: len(reader.numbers) == 3)
        assert hub.metrics()["bufferBytes"] == 0
    assert reader.numbers == [0, 1, 2]


async def test_a_large_event_is_sent_in_parts_and_arrives_whole() -> None:
    log = Log()
    async with running(log) as hub, reading(hub) as reader:
        log.emit(0, size=200_000)
        log.emit(1)
        await eventually(lambda: reader.numbers == [0, 1])
    assert max(len(message.get("body", b"")) for message in reader.messages) == SMALL


async def test_a_stream_is_aborted_if_newer_events_displace_the_one_that_it_is_sending() -> None:
    log = Log()
    async with running(log, stream_buffer_bytes=400_000) as hub, reading(hub) as slow:
        slow.stop()
        displaced = log.emit(0, size=150_000)
        await eventually(lambda: slow.blocked)
        log.emit(1, size=150_000)
        slow.gate.set()
        await eventually(lambda: slow.returned)
        assert hub.metrics()["closed"] == {"lagged": 1}
        assert displaced.id.encode() in slow.body
        assert not slow.ended


async def test_the_memory_is_shared_by_all_tenants_and_stays_within_its_bound() -> None:
    log = Log()
    async with running(log, stream_buffer_bytes=SMALL) as hub, anyio.create_task_group() as tasks:
        readers = [Reader(open=number % 2 == 0) for number in range(10)]
        for number, reader in enumerate(readers):
            tasks.start_soon(lambda reader=reader, number=number: reader.run(hub, tenant=f"t{number}"))  # type: ignore[misc]
        await settle()
        for number in range(200):
            log.emit(number, tenant=f"t{number % 10}", size=3000)
            assert hub.metrics()["bufferBytes"] <= SMALL
            if number % 10 == 0:
                await settle()
        for reader in readers:
            reader.gate.set()
        await eventually(lambda: all(len(reader.numbers) == 20 for reader in readers))
        for number, reader in enumerate(readers):
            assert reader.numbers == list(range(number, 200, 10))
            reader.gone.set()


async def test_a_stalled_reader_is_aborted_and_delays_no_one() -> None:
    log = Log()
    async with running(log, stream_send_timeout=0.5, heartbeat=0.2) as hub, reading(hub) as stuck, reading(hub) as well:
        stuck.stop()
        began = anyio.current_time()
        for number in range(20):
            emitted = anyio.current_time()
            log.emit(number)
            await eventually(partial(lambda number: well.numbers[-1:] == [number], number))
            assert anyio.current_time() - emitted < 0.1
        await eventually(lambda: stuck.returned)
        assert 0.4 < anyio.current_time() - began < 2
        assert not stuck.ended
        metrics = hub.metrics()
        assert (metrics["stalled"], metrics["closed"], metrics["streams"]) == (1, {"stalled": 1}, 1)


async def test_a_slow_replay_delays_no_one() -> None:
    blocked = anyio.Event()
    log = Log()
    first = log.commit(make_event(0))
    for number in range(1, 30):
        log.commit(make_event(number))
    async with running(log) as hub:
        log.publish()

        async def pause() -> None:
            await blocked.wait()

        slow = Reader()
        async with reading(hub) as well, anyio.create_task_group() as tasks:
            log.pause = pause
            tasks.start_soon(slow.run, hub, ALL, first.id)
            await eventually(lambda: len(slow.messages) == 2)
            log.emit(30)
            await eventually(lambda: well.numbers == [30])
            assert len(slow.messages) == 2
            blocked.set()
            await eventually(lambda: 30 in slow.numbers)
            slow.gone.set()
    assert slow.numbers == list(range(1, 31))


async def test_a_reader_that_blocks_keeps_its_memory_until_another_tenant_needs_it() -> None:
    clock, log, never = Clock(), Log(), anyio.Event()
    # A page has more than half of the memory.
    mine = [log.commit(make_event(number, size=300_000)) for number in range(6)]
    others = [log.commit(make_event(number, tenant="globex")) for number in range(3)]

    async def pause() -> None:
        if len(slow.messages) >= 2:
            await never.wait()

    slow = Reader(pause=pause)
    async with (
        running(log, clock, heartbeat=0.1, page_memory_bytes=1_500_000) as hub,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(slow.run, hub, ALL, mine[0].id)
        await eventually(lambda: len(slow.messages) == 2 and slow.blocked)
        clock.advance(5)
        async with reading(hub, tenant="globex") as idle:
            # By its second heartbeat, the hub has looked at all streams.
            await eventually(lambda: idle.body.count(b": heartbeat") >= 2)
        assert hub.metrics()["stalled"] == 0
        async with reading(hub, ALL, others[0].id, tenant="globex") as other:
            await eventually(lambda: other.numbers == [1, 2])
        await eventually(lambda: slow.returned)
        assert hub.metrics()["stalled"] == 1
        async with reading(hub, ALL, slow.last_event_id or mine[0].id) as again:
            await eventually(lambda: again.numbers == [1, 2, 3, 4, 5])


class BusyLog(Log):
    """Reads of all tenants except one take until `free`."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = 0
        self.free = anyio.Event()

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> LogReplay:
        if tenant != TENANT:
            self.reading += 1
            await self.free.wait()
        return await super().replay(tenant, filter, after)


async def test_a_replay_occupies_no_more_memory_than_its_events_need() -> None:
    log, never = Log(page=20), anyio.Event()
    first = log.commit(make_event(0))
    for number in range(1, 20):
        log.commit(make_event(number))

    async def pause() -> None:
        # It accepts the start of the response, and no events.
        if len(reader.messages) >= 2:
            await never.wait()

    reader = Reader(pause=pause)
    async with running(log) as hub, anyio.create_task_group() as tasks:
        tasks.start_soon(reader.run, hub, ALL, first.id)
        await eventually(lambda: len(reader.messages) == 2 and reader.blocked)
        assert 0 < hub.metrics()["pageBytes"] < 4 * SMALL
        tasks.cancel_scope.cancel()


async def test_a_tenant_uses_at_most_half_of_the_reads_of_the_log() -> None:
    log = BusyLog()
    events = [log.commit(make_event(number)) for number in range(3)]
    many = [Reader() for _ in range(40)]
    async with running(log) as hub, anyio.create_task_group() as tasks:
        for number, reader in enumerate(many):
            # Streams with the same filter would share one read.
            filter = StreamFilter(frozenset({f"type.n{number}"}))
            tasks.start_soon(reader.run, hub, filter, mint("msg_"), "globex")
        await eventually(lambda: log.reading == 8)
        async with reading(hub, ALL, events[0].id) as other:
            await eventually(lambda: other.numbers == [1, 2])
        assert log.reading == 8
        log.free.set()
        await eventually(lambda: all(len(reader.blocks) > 1 for reader in many))
        for reader in many:
            reader.gone.set()


async def test_a_client_that_disconnects_frees_its_slot_at_any_moment() -> None:
    async def wait() -> None:
        await anyio.sleep(0.05)

    log = Log()
    events = [log.commit(make_event(number)) for number in range(10)]

    async def check(hub: StreamHub, reader: Reader, after: str | None = None) -> None:
        with anyio.fail_after(2):
            await reader.run(hub, after=after)
        assert hub.metrics()["streams"] == 0

    async with running(log, streams_per_process=1) as hub:
        gone = Reader()
        gone.gone.set()
        await check(hub, gone)

        class Refusing(Reader):
            async def send(self, message: Any) -> None:
                raise BrokenPipeError

        await check(hub, Refusing())
        await check(hub, Refusing(), events[0].id)
        log.pause = wait
        for delay in (0, 0.02, 0.08):
            with anyio.move_on_after(delay):
                await check(hub, Reader(), "msg_unknown")
            reader = Reader()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(check, hub, reader, "msg_unknown")
                await anyio.sleep(delay)
                reader.gone.set()
        assert hub.metrics()["streams"] == 0
        async with reading(hub):
            assert hub.metrics()["streams"] == 1
        closed = hub.metrics()["closed"]
        assert closed["disconnected"] >= 4
        assert closed["cancelled"] >= 1


async def test_a_tenant_is_watched_while_it_has_streams_and_a_little_longer() -> None:
    log = Log()
    clock = Clock()
    async with running(log, clock.monotonic, timing=Timing(linger=30)) as hub:
        async with reading(hub) as idle, reading(hub, StreamFilter(channel="blue")), reading(hub, tenant="other"):
            clock.advance(40)
            await eventually(lambda: b"heartbeat" in idle.body)
            assert sorted(log.watched) == ["acme", "other"]
        assert sorted(log.watched) == ["acme", "other"]
        assert hub.metrics()["tenants"] == 0
        clock.advance(40)
        await eventually(lambda: not log.watched)
        assert (hub.metrics()["views"], hub.metrics()["bufferBytes"]) == (0, 0)
        async with reading(hub) as reader:
            log.emit(1)
            await eventually(lambda: reader.numbers)


async def test_unused_filters_do_not_accumulate() -> None:
    log = Log()
    async with running(log) as hub:
        for number in range(300):
            reader = Reader()
            reader.gone.set()
            await reader.run(hub, StreamFilter(channel=f"c{number}"))
        assert hub.metrics()["views"] <= 256


async def test_memory_of_an_erased_tenant_is_dropped_and_its_streams_continue() -> None:
    log = Log()
    async with running(log) as hub, reading(hub) as reader:
        log.emit(1)
        await eventually(lambda: reader.numbers)
        log.pruned = 1
        hub.forget("acme")
        hub.forget("nobody")
        assert hub.metrics()["bufferBytes"] == 0
        async with reading(hub, after="msg_any") as again:
            log.emit(2)
            await eventually(lambda: reader.numbers == [1, 2] and again.numbers == [2])


@pytest.mark.parametrize("stalled", [False, True])
async def test_the_hub_ends_within_two_seconds_with_any_readers(stalled: bool) -> None:
    readers = [Reader() for _ in range(20)]
    async with anyio.create_task_group() as tasks:
        async with running(Log()) as hub:
            for reader in readers:
                tasks.start_soon(reader.run, hub)
            await eventually(lambda: all(len(reader.messages) == 2 for reader in readers))
            if stalled:
                readers[0].stop()
            began = anyio.current_time()
        assert anyio.current_time() - began < 2
        await eventually(lambda: all(reader.returned for reader in readers))
    assert all(reader.ended for reader in readers[1:])
    assert readers[0].ended is not stalled


async def test_a_slow_reader_has_some_time_for_what_was_published_before_its_stream_is_aborted() -> None:
    now, looks = 1000.0, 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return now

    log, reader = Log(), Reader()
    async with running(log, clock) as hub, anyio.create_task_group() as tasks:
        tasks.start_soon(reader.run, hub)
        await eventually(lambda: len(reader.messages) == 2)
        reader.stop()
        log.emit(0)
        await eventually(lambda: reader.blocked)
        hub.drain()
        # Each stream is looked at within a second.
        now += 1.4
        seen = looks
        await eventually(lambda: looks >= seen + 4)
        reader.gate.set()
        await eventually(lambda: reader.returned)
    assert (reader.numbers, reader.ended) == ([0], True)


async def test_the_hub_ends_although_its_clock_stands_still() -> None:
    log, reader = Log(), Reader()
    async with anyio.create_task_group() as tasks:
        async with running(log, lambda: 1000.0, timing=Timing(flush=0.05, abort=0.1)) as hub:
            tasks.start_soon(reader.run, hub)
            await eventually(lambda: len(reader.messages) == 2)
            reader.stop()
            log.emit(0)
            await eventually(lambda: reader.blocked)
        await eventually(lambda: reader.returned)
    assert not reader.ended


async def test_a_hub_can_run_again_after_it_ended() -> None:
    log = Log()
    hub = StreamHub(log, make_settings())
    log.listen(hub)
    for number in range(2):
        async with hub.running(), reading(hub) as reader:
            log.emit(number)
            await eventually(lambda: reader.numbers)
        assert reader.numbers == [number]


async def test_an_error_of_the_host_passes_through_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with running(Log()):
            raise ZeroDivisionError
