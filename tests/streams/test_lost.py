"""Streams that are open while the log loses events that were sent, as in a failover."""

from __future__ import annotations

import json

import anyio

from tests.eventually import eventually
from tests.streams.feed import ALL, Log, Reader, make_event, reading, running


def gaps(reader: Reader) -> list[dict[str, str | None]]:
    """Return the gaps of the stream."""
    return [json.loads(block.fields["data"]) for block in reader.blocks if block.fields.get("event") == "gap"]


async def test_stream_whose_last_event_is_lost_gets_a_gap_and_continues() -> None:
    log = Log()
    async with running(log, heartbeat=60) as hub, reading(hub) as reader:
        first = log.emit(0)
        lost = [log.emit(number) for number in (1, 2)]
        await eventually(lambda: reader.numbers == [0, 1, 2])
        log.lose(2)
        await eventually(lambda: gaps(reader))
        log.emit(3)
        log.emit(4)
        await eventually(lambda: reader.numbers == [0, 1, 2, 3, 4])
    assert gaps(reader) == [{"requested": lost[-1].id, "oldest": first.id}]


async def test_stream_without_a_lost_event_notices_nothing() -> None:
    log = Log()
    async with running(log) as hub, reading(hub) as reader:
        log.emit(0)
        await eventually(lambda: reader.numbers == [0])
        log.commit(make_event(1))
        log.lose(1)
        log.emit(2)
        await eventually(lambda: reader.numbers == [0, 2])
        log.emit(3)
        await eventually(lambda: reader.numbers == [0, 2, 3])
    assert gaps(reader) == []


async def test_stream_that_has_sent_nothing_yet_gets_new_events() -> None:
    log = Log()
    async with running(log) as hub:
        async with reading(hub) as reader:
            log.commit(make_event(0))
            log.lose(1)
            log.emit(1)
            await eventually(lambda: reader.numbers == [1])
        async with reading(hub) as later:
            log.commit(make_event(2))
            log.lose(1)
            log.emit(3)
            await eventually(lambda: later.numbers == [3])
    assert gaps(reader) == gaps(later) == []


async def test_running_replay_continues_by_id() -> None:
    log = Log()
    # Three events fit into one send.
    events = [log.commit(make_event(number, size=20_000)) for number in range(8)]
    free = anyio.Event()

    async def pause() -> None:
        if len(reader.messages) >= 2:
            await free.wait()

    reader = Reader(pause=pause)
    async with running(log) as hub, anyio.create_task_group() as tasks:
        tasks.start_soon(reader.run, hub, ALL, events[0].id)
        await eventually(lambda: len(reader.messages) == 2 and reader.blocked)
        log.lose(4)
        log.emit(8)
        free.set()
        await eventually(lambda: 8 in reader.numbers)
        log.emit(9)
        await eventually(lambda: 9 in reader.numbers)
        reader.gone.set()
    # Events that were read before they were lost may still be sent.
    assert reader.numbers == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert gaps(reader) == [{"requested": events[7].id, "oldest": events[0].id}]


async def test_stream_that_opens_meanwhile_misses_nothing() -> None:
    free = anyio.Event()

    async def pause() -> None:
        await free.wait()

    log = Log(pause=pause)
    for number in range(3):
        log.commit(make_event(number))
    async with running(log) as hub:
        reader = Reader()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.run, hub)
            await eventually(lambda: log.replays == [None])
            log.lose(2)
            free.set()
            await eventually(lambda: reader.messages)
            log.emit(3)
            await eventually(lambda: reader.numbers == [3])
            log.emit(4)
            await eventually(lambda: reader.numbers == [3, 4])
            reader.gone.set()
    assert gaps(reader) == []
