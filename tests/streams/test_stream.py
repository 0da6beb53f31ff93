"""What a stream carries: frames, heartbeats, filters, the resume point, its end."""

from __future__ import annotations

import json
import logging
import re
import time
from contextlib import AsyncExitStack

import anyio
import pytest

from starlette_webhooks.authentication import Principal
from starlette_webhooks.exceptions import BackendUnavailable, NotRunning, TooManyRequests
from starlette_webhooks.feed import StreamFilter
from starlette_webhooks.identifiers import first_id, mint
from starlette_webhooks.sessions import Session
from starlette_webhooks.streams import StreamHub, Timing, Unavailable
from tests.clock import Clock
from tests.eventually import eventually
from tests.settings import make_settings
from tests.streams.feed import ALL, TENANT, Log, Reader, make_event, reading, running, settle

PAID = StreamFilter(frozenset({"invoice.paid"}))
FAILED = StreamFilter(frozenset({"invoice.failed"}))


async def test_a_stream_starts_immediately_with_headers_and_retry() -> None:
    async with running(Log()) as hub, reading(hub) as reader:
        start, first = reader.messages[:2]
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert dict(start["headers"]) == {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"cache-control": b"no-cache, no-transform",
        b"x-accel-buffering": b"no",
    }
    assert re.fullmatch(rb"retry: \d+\n\n", first["body"])


async def test_head_returns_headers_only_and_uses_no_slot() -> None:
    log = Log()
    reader = Reader()
    async with running(log, streams_per_process=1) as hub, reading(hub):
        await hub.serve(
            {"type": "http", "method": "HEAD"},
            reader.receive,
            reader.send,
            tenant=TENANT,
            filter=ALL,
            last_event_id=None,
        )
    assert reader.ended
    assert reader.body == b""
    assert (b"content-type", b"text/event-stream; charset=utf-8") in reader.messages[0]["headers"]


async def test_an_event_is_one_frame_and_the_same_bytes_for_all_readers() -> None:
    log = Log()
    async with running(log) as hub, reading(hub) as one, reading(hub) as other, reading(hub, PAID) as third:
        event = log.emit(1)
        await eventually(lambda: one.numbers and other.numbers and third.numbers)
    frame = one.messages[-1]["body"]
    assert frame == b"id: " + event.id.encode() + b"\ndata: " + event.encode() + b"\n\n"
    assert other.messages[-1]["body"] is frame
    assert third.messages[-1]["body"] is frame
    assert other.messages[-1] is not one.messages[-1]


async def test_line_ends_between_json_tokens_do_not_break_a_frame() -> None:
    log = Log()
    event = make_event(1)
    object.__setattr__(event, "payload", b'{"data":\r\n{"number":1}}')
    async with running(log) as hub, reading(hub) as reader:
        log.commit(event)
        log.publish()
        await eventually(lambda: reader.numbers)
        (block,) = [block for block in reader.blocks if "id" in block.fields]
    assert json.loads(block.fields["data"])["payload"] == {"data": {"number": 1}}


async def test_queued_events_go_out_in_one_send() -> None:
    log = Log()
    async with running(log) as hub, reading(hub) as reader:
        sends = len(reader.messages)
        for number in range(10):
            log.commit(make_event(number))
        log.publish()
        await eventually(lambda: len(reader.numbers) == 10)
        assert len(reader.messages) == sends + 1
        for number in range(10, 1010):
            log.commit(make_event(number))
        log.publish()
        await eventually(lambda: len(reader.numbers) == 1010)
    assert reader.numbers == list(range(1010))
    assert max(len(message["body"]) for message in reader.messages[1:]) <= 65_536


async def test_an_idle_stream_and_a_busy_one_have_their_heartbeats() -> None:
    log = Log()
    async with running(log, heartbeat=0.2) as hub, reading(hub) as idle, reading(hub, tenant="busy") as busy:
        started = time.monotonic()
        for number in range(50):
            log.emit(number, tenant="busy")
            await anyio.sleep(0.021)
        # A busy machine sleeps longer.
        periods = (time.monotonic() - started) / 0.2
        for reader in (idle, busy):
            beats = [
                at
                for at, sent in zip(reader.times, reader.messages, strict=True)
                if b": heartbeat" in sent.get("body", b"")
            ]
            assert periods - 2 <= len(beats) <= periods + 1
            assert all(after - before > 0.1 for before, after in zip(beats, beats[1:], strict=False))
        assert idle.messages[-1]["body"] == b": heartbeat\n\n"
        assert busy.numbers == list(range(50))


async def test_events_of_other_types_and_tenants_are_not_sent() -> None:
    log = Log()
    async with (
        running(log) as hub,
        reading(hub, PAID) as paid,
        reading(hub, tenant="other") as other,
        reading(hub) as all,
    ):
        log.emit(1)
        log.emit(2, type="invoice.failed")
        log.emit(3, tenant="other")
        await eventually(lambda: len(all.numbers) == 2 and other.numbers)
        await settle()
    assert (paid.numbers, other.numbers, all.numbers) == ([1], [3], [1, 2])


async def test_events_committed_before_a_stream_began_are_left_out_if_published_later() -> None:
    log = Log()
    async with running(log) as hub:
        log.commit(make_event(1))
        async with reading(hub) as reader:
            log.commit(make_event(2))
            log.publish()
            await eventually(lambda: reader.numbers)
            log.emit(3)
            await eventually(lambda: len(reader.numbers) == 2)
    assert reader.numbers == [2, 3]


async def test_resuming_replays_the_log_in_order_and_continues_live() -> None:
    log = Log()
    events = [log.commit(make_event(number)) for number in range(20)]
    async with running(log) as hub, reading(hub, after=events[4].id) as reader:
        # Before that, the memory would have everything that the stream asks for.
        await eventually(lambda: log.replays)
        log.publish()
        log.emit(20)
        await eventually(lambda: 20 in reader.numbers)
    assert reader.numbers == list(range(5, 21))
    assert log.replays == [events[4].id]


async def test_clients_that_reconnect_are_served_from_memory() -> None:
    log = Log()
    async with running(log) as hub:
        async with reading(hub, PAID) as reader:
            for number in range(10):
                log.emit(number)
                log.emit(100 + number, type="invoice.failed")
            await eventually(lambda: len(reader.numbers) == 10)
        seventh = [block.fields["id"] for block in reader.blocks if "id" in block.fields][6]
        log.emit(10)
        async with reading(hub, PAID, after=seventh) as again:
            log.emit(11)
            await eventually(lambda: 11 in again.numbers)
    assert again.numbers == [7, 8, 9, 10, 11]
    assert log.replays == [None]


async def test_many_clients_that_reconnect_after_a_restart_read_the_log_once() -> None:
    async def pause() -> None:
        await anyio.sleep(0.001)

    log = Log(pause=pause)
    events = [log.commit(make_event(number)) for number in range(20)]
    readers = [Reader() for _ in range(200)]
    async with running(log, streams_per_tenant=1000) as hub, anyio.create_task_group() as tasks:
        for number, reader in enumerate(readers):
            tasks.start_soon(reader.run, hub, ALL, events[10 + number % 3].id if number else events[10].id)
        await eventually(lambda: all(reader.numbers and reader.numbers[-1] == 19 for reader in readers))
        log.publish()
        log.emit(20)
        await eventually(lambda: all(reader.numbers[-1] == 20 for reader in readers))
        for reader in readers:
            reader.gone.set()
    for number, reader in enumerate(readers):
        assert reader.numbers == list(range(11 + number % 3, 21))
    # At most one read for each id, if clients that resume from further back come later.
    assert len(log.replays) <= 3


async def test_an_unknown_id_gives_a_gap_and_the_stream_continues_from_the_oldest_event() -> None:
    log = Log()
    events = [log.commit(make_event(number)) for number in range(5)]
    log.pruned = 2
    async with running(log) as hub:
        async with reading(hub, after=events[0].id) as reader:
            await eventually(lambda: reader.numbers)
            log.publish()
            log.emit(5)
            await eventually(lambda: 5 in reader.numbers)
        async with reading(hub, after='no"\n\nid: such') as other:
            await eventually(lambda: 5 in other.numbers)
        async with reading(hub, after="msg_lost", tenant="empty") as empty:
            await eventually(lambda: len(empty.blocks) == 2)
    gap = reader.blocks[1]
    assert gap.fields["event"] == "gap"
    assert json.loads(gap.fields["data"]) == {"requested": events[0].id, "oldest": events[2].id}
    assert "id" not in gap.fields
    assert reader.numbers == [2, 3, 4, 5]
    assert json.loads(other.blocks[1].fields["data"])["requested"] == 'no"\n\nid: such'
    assert json.loads(empty.blocks[1].fields["data"]) == {"requested": "msg_lost", "oldest": None}
    assert hub.metrics()["gaps"] == 3


async def test_a_stream_from_the_future_gets_the_gap_and_then_only_what_is_new() -> None:
    log = Log()
    events = [log.commit(make_event(number)) for number in range(5)]
    future = first_id("msg_", 4_000_000_000_000)
    async with running(log) as hub:
        log.publish()
        async with reading(hub, after=future) as reader:
            await eventually(lambda: len(reader.blocks) == 3)
            assert reader.last_event_id == events[-1].id, "it does not ask for the id from the future again"
            log.emit(5)
            await eventually(lambda: reader.numbers)
    gap = json.loads(reader.blocks[1].fields["data"])
    assert gap == {"requested": future, "oldest": events[0].id}
    assert reader.numbers == [5]


async def test_the_resume_point_of_a_filtered_stream_moves_on() -> None:
    log = Log()
    async with running(log, Clock(speed=60).monotonic) as hub:
        async with reading(hub, PAID) as reader:
            log.emit(1)
            left_out = log.emit(2, type="invoice.failed")
            await eventually(lambda: reader.last_event_id == left_out.id)
        assert reader.blocks[-1].fields == {"id": left_out.id}
        log.emit(3)
        async with reading(hub, PAID, after=reader.last_event_id) as again:
            await eventually(lambda: again.numbers)
    assert again.numbers == [3]
    assert log.replays == [None]


async def test_the_resume_point_does_not_pass_events_that_were_not_sent() -> None:
    log = Log()
    clock = Clock()
    async with (
        running(log, clock.monotonic, timing=Timing(mark=1), heartbeat=0.2) as hub,
        reading(hub, PAID) as reader,
        reading(hub, FAILED) as idle,
    ):
        reader.stop()
        log.emit(1)
        await eventually(lambda: reader.blocked)
        log.emit(2)
        left_out = log.emit(3, type="user.created")
        clock.advance(2)
        # By now, both streams are due for a newer id to resume from.
        await eventually(lambda: idle.last_event_id == left_out.id)
        reader.gate.set()
        await eventually(lambda: reader.last_event_id == left_out.id)
    numbered = [block for block in reader.blocks if "id" in block.fields]
    assert [block.number for block in numbered[:-1]] == [1, 2]


async def test_a_stream_that_starts_now_begins_with_an_id() -> None:
    log = Log()
    last = log.commit(make_event(0))
    async with running(log) as hub, reading(hub) as reader:
        # With the first bytes, because the connection may be cut after any of them.
        assert [message["body"].count(b"\n\n") for message in reader.messages[1:]] == [2]
        assert reader.blocks[1].fields == {"id": last.id}


async def test_a_stream_that_was_sent_nothing_after_a_gap_does_not_ask_for_the_same_id_again() -> None:
    log = Log()
    lost = mint("msg_")
    events = [log.commit(make_event(number)) for number in range(2)]
    async with running(log) as hub, reading(hub, FAILED, after=lost) as reader:
        await eventually(lambda: reader.last_event_id == events[1].id)
        assert [sorted(block.fields) for block in reader.blocks[1:]] == [["data", "event"], ["id"]]


async def test_a_stream_that_ends_before_its_first_event_can_be_resumed() -> None:
    log = Log()
    last = log.commit(make_event(0))
    async with running(log) as hub:
        async with reading(hub) as reader:
            await settle()
            hub.drain()
            await eventually(lambda: reader.ended)
        assert reader.last_event_id == last.id
    log.commit(make_event(1))
    async with running(log) as hub, reading(hub, after=reader.last_event_id) as again:
        await eventually(lambda: again.numbers)
    assert again.numbers == [1]


async def test_a_stream_ends_cleanly_at_its_maximum_age() -> None:
    log = Log()
    async with running(log, stream_max_age=1, heartbeat=0.2) as hub:
        began = anyio.current_time()
        async with reading(hub) as reader:
            await eventually(lambda: reader.returned)
        assert 0.75 <= anyio.current_time() - began <= 1.6
        assert hub.metrics()["closed"] == {"aged": 1}
    assert reader.ended
    final = re.fullmatch(rb"retry: (\d+)\n\n", reader.messages[-1]["body"])
    assert final is not None
    assert 500 <= int(final[1]) <= 5000


async def test_a_stream_ends_with_its_authorisation() -> None:
    session = Session(Principal(TENANT), time.time() + 0.3, "", "")  # type: ignore[arg-type]
    async with running(Log(), heartbeat=0.2) as hub:
        async with reading(hub, session=session) as reader:
            await eventually(lambda: reader.returned, within=2)
        assert hub.metrics()["closed"] == {"expired": 1}
    assert reader.ended


async def test_streams_end_with_the_session_that_opened_them_and_no_others_do() -> None:
    one, other = (Session(Principal(TENANT), int(time.time()) + 60, name, "") for name in ("1", "2"))
    async with running(Log()) as hub:
        async with reading(hub, session=one) as ended, reading(hub, session=other) as open_one, reading(hub) as by_key:
            assert hub.sessions() == {one, other}
            hub.end_sessions({one})
            await eventually(lambda: ended.returned, within=2)
            assert not open_one.returned
            assert not by_key.returned
        assert ended.ended
        assert hub.metrics()["closed"]["revoked"] == 1


async def test_draining_sends_what_is_published_ends_all_streams_and_refuses_new_ones() -> None:
    log = Log()
    async with running(log) as hub:
        async with reading(hub) as one, reading(hub, PAID) as other:
            log.emit(1)
            hub.drain()
            await eventually(lambda: one.returned and other.returned, within=1)
            with pytest.raises(Unavailable) as refusal:
                hub.check_capacity(TENANT)
        assert one.numbers == other.numbers == [1]
        assert one.ended
        assert other.ended
        assert (refusal.value.status_code, refusal.value.headers) == (503, {"Retry-After": "5"})
        assert hub.metrics()["closed"] == {"drained": 2}


async def test_beyond_the_limits_a_stream_is_refused_before_anything_is_sent() -> None:
    refused = Reader()
    async with running(Log(), streams_per_tenant=2, streams_per_process=3) as hub:
        async with reading(hub), reading(hub):
            with pytest.raises(TooManyRequests) as refusal:
                await refused.run(hub)
            async with reading(hub, tenant="other"):
                with pytest.raises(TooManyRequests):
                    await refused.run(hub, tenant="third")
        async with reading(hub):
            hub.check_capacity(TENANT)
        assert hub.metrics()["rejected"] == 2
    assert refusal.value.headers["Retry-After"]
    assert refused.messages == []


async def test_two_tenants_cannot_use_all_streams_of_the_process() -> None:
    async def open_all(hub: StreamHub, tenant: str, stack: AsyncExitStack) -> int:
        opened = 0
        while True:
            try:
                hub.check_capacity(tenant)
            except TooManyRequests:
                return opened
            await stack.enter_async_context(reading(hub, tenant=tenant))
            opened += 1

    async with running(Log(), streams_per_process=16, streams_per_tenant=16) as hub, AsyncExitStack() as stack:
        assert await open_all(hub, "one", stack) == 8
        assert await open_all(hub, "other", stack) == 4
        assert await open_all(hub, "third", stack) == 2
        hub.check_capacity("fourth")


async def test_outside_running_streams_are_refused_with_the_remedy() -> None:
    hub = StreamHub(Log(), make_settings())
    with pytest.raises(NotRunning):
        await Reader().run(hub)


async def test_if_the_log_cannot_be_read_a_stream_ends_cleanly_without_details(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise RuntimeError("secret of the database")

    log = Log(pause=fail)
    log.commit(make_event(1))
    async with running(log) as hub:
        for after in (None, "msg_1"):
            reader = Reader()
            await reader.run(hub, after=after)
            assert reader.messages[0]["status"] == 200
            assert reader.ended
            assert b"secret" not in reader.body
        assert hub.metrics()["closed"] == {"failed": 2}
        assert hub.metrics()["streams"] == 0
    assert [record.levelno for record in caplog.records if record.name == "starlette_webhooks.streams"] == [
        logging.WARNING
    ] * 2


async def test_an_outage_that_ends_streams_is_logged_once_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "starlette_webhooks")
    away = True

    async def fail() -> None:
        if away:
            raise BackendUnavailable("The database is away.")

    log = Log(pause=fail)
    log.commit(make_event(1))
    async with running(log) as hub:
        for _ in range(3):
            await Reader().run(hub, after="msg_1")
        assert hub.metrics()["closed"] == {"failed": 3}
        away = False
        async with reading(hub) as reader:
            await eventually(lambda: b"retry" in reader.body)
    told = [record for record in caplog.records if "log of events" in record.message]
    assert [record.levelname for record in told] == ["WARNING", "INFO"]
    assert not any(record.exc_info for record in told)
