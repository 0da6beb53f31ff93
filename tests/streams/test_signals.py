"""Signal handlers: chained while streams are open, then restored."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from types import FrameType

import anyio
import pytest

from starlette_webhooks.streams.shutdown import SignalChain
from tests.eventually import eventually
from tests.streams.feed import Log, Reader, reading, running

Seen = list[int]


@pytest.fixture
def seen() -> Generator[Seen]:
    """Return the signals that the host's own handler received."""
    numbers: Seen = []

    def handler(number: int, frame: FrameType | None) -> None:
        numbers.append(number)

    former = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    yield numbers
    for number, before in former.items():
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_streams_and_reaches_the_previous_handler(number: int, seen: Seen) -> None:
    async with running(Log(), handle_signals=True) as hub:
        async with reading(hub) as one, reading(hub) as other:
            os.kill(os.getpid(), number)
            await eventually(lambda: one.returned and other.returned, within=1)
        assert seen == [number]
        assert one.ended
        assert other.ended


async def test_handlers_are_there_only_while_streams_are_open(seen: Seen) -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with running(Log(), handle_signals=True) as hub:
        assert signal.getsignal(signal.SIGTERM) is before
        async with reading(hub):
            async with reading(hub):
                assert signal.getsignal(signal.SIGTERM) is not before
            assert signal.getsignal(signal.SIGTERM) is not before
        assert signal.getsignal(signal.SIGTERM) is before


async def test_a_handler_that_was_set_later_stays(seen: Seen) -> None:
    def later(number: int, frame: FrameType | None) -> None:
        pass

    async with running(Log(), handle_signals=True) as hub, reading(hub):
        signal.signal(signal.SIGTERM, later)
    assert signal.getsignal(signal.SIGTERM) is later


async def test_handling_signals_can_be_switched_off(seen: Seen) -> None:
    before = signal.getsignal(signal.SIGTERM)
    log = Log()
    async with running(log, handle_signals=False) as hub, reading(hub) as reader:
        assert signal.getsignal(signal.SIGTERM) is before
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: seen)
        log.emit(1)
        await eventually(lambda: reader.numbers)
        assert not reader.ended
    assert seen == [signal.SIGTERM]


def test_off_the_main_thread_streams_are_served_without_handlers(seen: Seen, anyio_backend_name: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    readers: list[Reader] = []

    async def serve() -> None:
        async with running(Log(), handle_signals=True) as hub, reading(hub) as reader:
            assert signal.getsignal(signal.SIGTERM) is before
            readers.append(reader)

    thread = threading.Thread(target=anyio.run, args=(serve,), kwargs={"backend": anyio_backend_name})
    thread.start()
    thread.join()
    assert len(readers) == 1


def test_default_handlers_stay_unchanged() -> None:
    former = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        chain = SignalChain(lambda: None)
        chain.install()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        chain.restore()
    finally:
        signal.signal(signal.SIGTERM, former)


def test_handlers_that_chain_to_each_other_in_turns_all_run_once(seen: Seen) -> None:
    calls: list[str] = []
    first = SignalChain(lambda: calls.append("first"))
    second = SignalChain(lambda: calls.append("second"))
    first.install()
    second.install()
    first.restore()
    first.install()
    os.kill(os.getpid(), signal.SIGTERM)
    assert len(seen) == 1
    assert calls == ["first", "second", "first"]
    first.restore()
    second.restore()
