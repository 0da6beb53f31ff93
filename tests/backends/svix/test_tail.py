"""A stream with Svix misses nothing: late commits, clock differences, outages, quiet months, reconnects."""

from __future__ import annotations

import gc
import itertools
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import anyio
import pytest

from starlette_webhooks.backends.svix.messages import MAX_PAGE, MessagePage, Messages
from starlette_webhooks.backends.svix.replay import open_replay
from starlette_webhooks.backends.svix.streaming import Streaming
from starlette_webhooks.backends.svix.tail import Tail
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.feed import Entry, Replay, StreamFilter
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.fake_store import Application, Message, ksuid, list_messages, seconds_of, start_id
from tests.backends.svix.support import Ear, canonical, make, numbers, running
from tests.clock import VirtualTime
from tests.eventually import eventually

START = 1_800_000_000.0
ALL = StreamFilter()


@pytest.fixture
def svix_settings(svix_settings: WebhooksSettings) -> WebhooksSettings:
    """Keep the outbox in memory, because these tests do not depend on the disk."""
    return svix_settings.model_copy(update={"database": ":memory:"})


class StoreSource:
    """The messages of one application, listed without HTTP and in virtual time."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.time = START
        self.pages = 0
        self.lag = 0.0
        self.payload = b"{}"
        self._events: dict[str, Event] = {}

    def now(self) -> float:
        # The `Date` header has whole seconds.
        return float(int(self.time))

    def event(self, message: Message) -> Event:
        if message.id not in self._events:
            moment = datetime.fromtimestamp(seconds_of(message.id), UTC)
            self._events[message.id] = Event(message.id, "a", message.event_type, self.payload, moment, "")
        return self._events[message.id]

    async def upwards(self, tenant: str, after: str, *, content: bool, limit: int = MAX_PAGE) -> MessagePage:
        self.pages += 1
        now = self.time - self.lag
        page, _, _, done = list_messages(self.application, now=now, limit=limit, iterator=f"-{after}")
        return MessagePage([self.event(message) for message in reversed(page)], done or not page)

    async def fill(self, tenant: str, after: str, events: Sequence[Event]) -> Sequence[Event]:
        return events

    async def get(self, tenant: str, identifier: str) -> Event | None:
        message = self.application.get(identifier)
        return None if message is None or message.visible_at > self.time else self.event(message)

    async def oldest(self, tenant: str) -> str | None:
        return next((message.id for message in self.application.messages if message.visible_at <= self.time), None)

    def tail(self, ear: Ear, *, overlap: float = 15.0) -> Tail:
        count = itertools.count(1)
        return Tail("a", self, known=(), position=lambda: next(count), publish=ear.publish, overlap=overlap)


def busy_application(randomness: random.Random, count: int, rate: float, *, slow: float = 0.001) -> Application:
    """Messages of three nodes with different clocks. Commits take some time, and a few take long."""
    application = Application("app", "a", "a", START)
    for number in range(count):
        at = START + 2 + number / rate
        commit = randomness.lognormvariate(-4.6, 0.6)
        if randomness.random() < slow:
            commit += randomness.uniform(0.2, 3.0)
        minted = ksuid("msg_", at + randomness.choice((0.0, 0.04, -0.03)), randomness.getrandbits(120))
        application.messages.append(Message(minted, "invoice.paid", {}, visible_at=at + commit))
    application.messages.sort()
    return application


async def test_of_30000_messages_with_late_commits_and_skewed_clocks_each_is_published_once() -> None:
    randomness = random.Random(4)
    source = StoreSource(busy_application(randomness, 30_000, 200.0))
    ear = Ear()
    tail = source.tail(ear)
    naive: set[str] = set()
    cursor = start_id(START)
    while source.time < START + 170:
        await tail.sweep()
        if len(naive) < 3000:
            page = await source.upwards("a", cursor, content=False)
            naive.update(event.id for event in page.events)
            cursor = page.events[-1].id if page.events else cursor
        source.time += randomness.uniform(0.4, 0.6)
    told = [event.id for event in ear.events]
    assert len(told) == len(set(told)) == 30_000
    assert [entry.position for entry in ear.entries] == sorted(entry.position for entry in ear.entries)
    # The obvious way loses messages here.
    assert any(message.id not in naive and message.id < cursor for message in source.application.messages)


async def test_an_aborted_sweep_is_completed_by_the_next_one() -> None:
    randomness = random.Random(5)
    source = StoreSource(busy_application(randomness, 3000, 200.0))
    ear = Ear()
    tail = source.tail(ear)
    upwards = source.upwards

    async def shaky(tenant: str, after: str, *, content: bool) -> MessagePage:
        if randomness.random() < 0.2:
            raise ConnectionError
        return await upwards(tenant, after, content=content)

    cast(Any, source).upwards = shaky
    while source.time < START + 60:
        try:
            await tail.sweep()
        except ConnectionError:
            source.time += 3
        source.time += 0.5
    cast(Any, source).upwards = upwards
    await tail.sweep()
    assert len(ear.entries) == len({event.id for event in ear.events}) == 3000


async def test_a_tenant_that_was_quiet_for_months_is_still_followed() -> None:
    source = StoreSource(Application("app", "a", "a", START))
    ear = Ear()
    tail = source.tail(ear)
    await tail.sweep()
    for month in range(1, 9):
        source.time = START + month * 50 * 86_400
        if month % 4 == 0:
            source.application.add(Message(ksuid("msg_", source.time), "invoice.paid", {}, visible_at=source.time))
            source.time += 0.1
        await tail.sweep()
    assert len(ear.entries) == 2


async def test_a_tail_stalled_by_an_outage_of_a_hundred_days_misses_nothing() -> None:
    source = StoreSource(Application("app", "a", "a", START))
    ear = Ear()
    tail = source.tail(ear)
    await tail.sweep()
    for day in (1, 80, 95, 100):
        at = START + day * 86_400
        source.application.add(Message(ksuid("msg_", at), "invoice.paid", {}, visible_at=at))
    source.time = START + 101 * 86_400
    await tail.sweep()
    assert len(ear.entries) == 4


@pytest.mark.parametrize("seed", range(12))
async def test_a_reader_that_reconnects_all_the_time_misses_nothing(seed: int) -> None:
    randomness = random.Random(seed)
    source = StoreSource(busy_application(randomness, 600, 20.0, slow=0.02))
    reader = Reader(source, randomness)
    while source.time < START + 60:
        await reader.step()
        source.time += randomness.uniform(0.0, 0.5)
    await reader.finish()
    missing = {message.id for message in source.application.messages} - set(reader.got)
    assert missing == set()


class Reader:
    """An SSE client and its server. The client reconnects at random times to new tails, and drops duplicates."""

    def __init__(self, source: StoreSource, randomness: random.Random) -> None:
        self.source = source
        self.randomness = randomness
        self.got: dict[str, None] = {}
        self.last: str | None = None
        self._ear = Ear()
        self._tail = source.tail(self._ear)
        self._replay: Replay | None = None
        self._pages: Any = None
        self._read = 0

    async def step(self) -> None:
        choice = self.randomness.random()
        self.source.lag = self.randomness.choice((0.0, 0.0, 0.3))
        if choice < 0.1:
            await self._connect(anew=self.randomness.random() < 0.5)
        elif choice < 0.7:
            await self._tail.sweep()
        await self._receive()

    async def finish(self) -> None:
        self.source.lag = 0.0
        for _ in range(3):
            await self._tail.sweep()
            self.source.time += 5
            await self._receive()

    async def _connect(self, *, anew: bool) -> None:
        if self.last is None:
            return
        if anew:
            self._ear = Ear()
            self._tail = self.source.tail(self._ear)
        self._read = len(self._ear.entries)
        high = self._ear.entries[-1].position if self._ear.entries else 0
        messages = cast(Messages, self.source)
        self._replay = await open_replay(messages, self._tail, ALL, self.last, high=high, overlap=15.0)
        assert self._replay.gap is None
        self._pages = self._replay.pages()

    async def _receive(self) -> None:
        while self._pages is not None:
            if not self._tail.begun.is_set():
                await self._tail.sweep()
            page = await anext(self._pages, None)
            if page is None:
                self._pages = None
                break
            self._take(page)
            if self.randomness.random() < 0.3:
                await self._tail.sweep()
        news, self._read = self._ear.entries[self._read :], len(self._ear.entries)
        self._take([entry.event for entry in news if self._replay is None or not self._replay.covers(entry)])

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            self.got[event.id] = None
            self.last = event.id


async def test_what_the_tail_has_published_and_a_lagging_replica_does_not_show_is_replayed() -> None:
    source = StoreSource(Application("app", "a", "a", START))
    for number in range(2):
        at = START + 2 + number
        source.application.add(Message(ksuid("msg_", at), "invoice.paid", {}, visible_at=at))
    first, second = (message.id for message in source.application.messages)
    ear = Ear()
    tail = source.tail(ear)
    source.time = START + 5
    await tail.sweep()
    source.lag = 2.5
    replay = await open_replay(cast(Messages, source), tail, ALL, first, high=2, overlap=15.0)
    assert [event.id async for page in replay.pages() for event in page] == [second]
    assert replay.covers(ear.entries[1])


async def test_a_lagging_reader_continues_from_its_position() -> None:
    randomness = random.Random(6)
    source = StoreSource(busy_application(randomness, 400, 20.0, slow=0.02))
    ear = Ear()
    tail = source.tail(ear)
    while source.time < START + 30:
        await tail.sweep()
        source.time += 0.5
    for position in (1, 57, 200, 399):
        replay = await open_replay(cast(Messages, source), tail, ALL, position, high=400, overlap=15.0)
        replayed = [event.id async for page in replay.pages() for event in page]
        assert sorted(replayed) == sorted(entry.event.id for entry in ear.entries if entry.position > position)


async def test_a_replay_has_few_large_messages_in_memory_at_a_time() -> None:
    source = StoreSource(Application("app", "a", "a", START))
    source.payload = b"x" * 100_000
    for number in range(40):
        source.application.add(Message(ksuid("msg_", START + number), "invoice.paid", {}, visible_at=START))
    source.time = START + 60
    tail = source.tail(Ear())
    await tail.sweep()
    replay = await open_replay(cast(Messages, source), tail, ALL, "msg_" + "0" * 27, high=0, overlap=15.0)
    sizes = []
    async for page in replay.pages():
        sizes.append(len(page))
        assert [one is page for one in gc.get_referrers(page[0]) if isinstance(one, list)] == [True]
    assert sizes == [25, *[2] * 7, 1]


async def test_messages_of_other_processes_are_streamed_and_late_ones_too(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    ear = Ear()
    async with running(svix_settings) as backend:
        await backend.send([make("a", 0)])
        backend.listen(ear)
        backend.watch("a")
        application = fake.application("a")
        replay = await backend.replay("a", ALL, None)
        assert [page async for page in replay.pages()] == []
        await eventually(lambda: len(fake.calls_to("/msg$", "GET")) > 1)
        late = fake.clock() + 0.3
        fake.commit_delay = lambda: late - fake.clock()
        fake.store(application, "invoice.paid", {"data": {"number": 1}})
        fake.commit_delay = lambda: 0.0
        fake.skew = lambda: 0.05
        fake.store(application, "invoice.paid", {"data": {"number": 2}})
        await eventually(lambda: len(ear.entries) == 1)
        await eventually(lambda: len(ear.entries) == 2)
        assert numbers(ear.events) == [2, 1]
        assert not any(replay.covers(entry) for entry in ear.entries)
        sweeps = len(fake.calls_to("/msg$", "GET"))
        await eventually(lambda: len(fake.calls_to("/msg$", "GET")) > sweeps + 2)
        assert len(ear.entries) == 2


async def test_many_new_messages_together_are_streamed_with_their_payloads(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    ear = Ear()
    async with running(svix_settings) as backend:
        await backend.send([make("a", 0)])
        backend.listen(ear)
        backend.watch("a")
        application = fake.application("a")
        for number in range(1, 601):
            fake.store(application, "invoice.paid", {"data": {"number": number}})
        # A raw payload that is not an object makes the SDK fail on every page that contains it.
        fake.store(application, "invoice.paid", ["no", "object"])
        await eventually(lambda: len(ear.entries) == 601)
        assert {tuple(event.payload for event in ear.events).count(b"{}")} == {1}
        read = sorted(event.data["number"] for event in ear.events if event.payload != b"{}")
        assert read == list(range(1, 601))


async def test_events_forwarded_by_this_process_are_streamed_immediately_and_once(
    svix_settings: WebhooksSettings, tenant: str
) -> None:
    ear = Ear()
    event = make(tenant, 1)
    # Only the first sweep could find it within the time that the test waits.
    async with running(svix_settings, poll=(60.0, 60.0)) as backend:
        backend.listen(ear)
        await backend.send([make(tenant, 0)])
        backend.watch(tenant)
        replay = await backend.replay(tenant, ALL, None)
        assert [page async for page in replay.pages()] == []
        backend.submit([event])
        await eventually(lambda: numbers(ear.events) == [1])
        assert ear.events[0].payload == event.payload
    async with running(svix_settings) as backend, running(svix_settings) as other:
        backend.listen(ear)
        ear.entries.clear()
        backend.watch(tenant)
        sent = list(await backend.send([make(tenant, 2), make(tenant, 3)]))
        # Once the sweep finds an event of another process, it has passed the two.
        sent += await other.send([make(tenant, 4)])
        await eventually(lambda: 4 in numbers(ear.events))
        assert [event.id for event in ear.events if event.id in {one.id for one in sent}] == [one.id for one in sent]
        listed = await backend.get_event(tenant, ear.events[0].id)
        assert listed is not None
        assert canonical(listed) == canonical(ear.events[0])


async def test_a_stream_resumes_after_an_id_or_sends_a_gap(svix_settings: WebhooksSettings, tenant: str) -> None:
    ear = Ear()
    async with running(svix_settings, overlap=0.0) as backend:
        sent: list[Event] = []
        for number in range(4):
            sent += await backend.send([make(tenant, number)])
            await anyio.sleep(0.02)
        sent += await backend.send([make(tenant, 4, "user.created", channels=["eu"])])
        backend.listen(ear)
        backend.watch(tenant)

        async def read(after: str, filter: StreamFilter = ALL) -> tuple[list[int], Replay]:
            replay = await backend.replay(tenant, filter, after)
            return numbers([event async for page in replay.pages() for event in page]), replay

        assert (await read(sent[1].id))[0] == [2, 3, 4]
        assert (await read(sent[4].id))[0] == []
        assert (await read(sent[1].id, StreamFilter(frozenset({"user.created"}))))[0] == [4]
        assert (await read(sent[1].id, StreamFilter(channel="eu")))[0] == [4]
        for unknown in ("msg_foo", "nonsense", ksuid("msg_", time.time() - 5)):
            replayed, replay = await read(unknown)
            assert replayed == [0, 1, 2, 3, 4]
            assert replay.gap is not None
            assert (replay.gap.requested, replay.gap.oldest) == (unknown, sent[0].id)
            assert replay.covers(Entry(0, sent[4]))


async def test_a_tenant_unknown_to_svix_can_be_streamed(svix_settings: WebhooksSettings, tenant: str) -> None:
    ear = Ear()
    async with running(svix_settings) as backend:
        backend.listen(ear)
        backend.watch(tenant)
        replay = await backend.replay(tenant, ALL, "msg_foo")
        assert [page async for page in replay.pages()] == []
        assert replay.gap is not None
        assert replay.gap.oldest is None
        backend.submit([make(tenant, 1)])
        await eventually(lambda: numbers(ear.events) == [1])


async def test_one_poller_for_a_tenant_slows_down_when_idle_and_stops_with_the_last_reader() -> None:
    source = StoreSource(Application("app", "a", "a", START))
    virtual = VirtualTime(START)
    clocks = virtual.source()
    streaming = Streaming(cast(Messages, source), clocks, poll=(1.0, 10.0), overlap=15.0)
    streaming.listen(Ear())
    async with anyio.create_task_group() as tasks:
        streaming.start(tasks)
        streaming.watch("a")
        streaming.watch("a")
        await eventually(lambda: source.pages == 1)
        await virtual.run(200)
        # About nine within the first 40 seconds, then one every ten, with a jitter of a fifth.
        assert 20 <= source.pages <= 32
        streaming.unwatch("a")
        assert streaming.tails == 0
        pages = source.pages
        await virtual.run(200)
        assert source.pages == pages
        tasks.cancel_scope.cancel()


async def test_a_poller_survives_any_error_and_logs_outages_once(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception] = [
        LookupError("unexpected"),
        BackendUnavailable("Svix is down."),
        BackendUnavailable("Svix is down."),
    ]

    class Failing(StoreSource):
        """A source that fails at first."""

        async def upwards(self, *args: Any, **options: Any) -> Any:
            if errors:
                raise errors.pop(0)
            return await super().upwards(*args, **options)

    application = Application("app", "a", "a", START)
    source, virtual = Failing(application), VirtualTime(START)
    streaming = Streaming(cast(Messages, source), virtual.source(), poll=(1.0, 10.0), overlap=15.0)
    async with anyio.create_task_group() as tasks:
        streaming.start(tasks)
        # Nobody listens yet, and Svix assigned no id.
        streaming.forwarded(make("a", 1))
        streaming.watch("a")
        await eventually(lambda: len(errors) < 3)
        await virtual.run(200)
        assert errors == []
        assert source.pages
        tasks.cancel_scope.cancel()
    assert caplog.text.count("could not be read for its streams. Trying again.") == 1
    assert "LookupError" in caplog.text


async def test_a_stream_opened_while_svix_is_down_gets_later_events(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    ear = Ear()
    async with running(svix_settings) as backend:
        await backend.send([make("a", 0)])
        fake.go_down()
        backend.listen(ear)
        backend.watch("a")
        replay = await backend.replay("a", ALL, None)
        await eventually(lambda: len(fake.calls_to("/msg$", "GET")) > 1)
        fake.store(fake.application("a"), "invoice.paid", {"data": {"number": 1}})
        fake.heal()
        await eventually(lambda: numbers(ear.events) == [1])
        assert not replay.covers(ear.entries[0])


async def test_polling_waits_as_long_as_svix_asks_for(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    fake.fail("/msg$", method="GET", status=429, headers={"retry-after": "100"})
    virtual = VirtualTime()
    clocks = {"clock": virtual, "sleep": virtual.sleep, "monotonic": virtual.monotonic}
    async with running(svix_settings, **clocks) as backend:
        backend.listen(Ear())
        backend.watch("a")
        await eventually(lambda: len(fake.calls_to("/msg$", "GET")) == 1)
        await virtual.run(99)
        assert len(fake.calls_to("/msg$", "GET")) == 1
        async with virtual.passing():
            await eventually(lambda: len(fake.calls_to("/msg$", "GET")) > 1)
