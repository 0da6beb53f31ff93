"""No event is missed or repeated, and all arrive in order, in every interleaving."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from starlette_webhooks.feed import StreamFilter
from starlette_webhooks.streams import StreamHub
from tests.streams.feed import Log, Reader, make_event, running

TYPES = ("invoice.paid", "invoice.failed", "user.created")
FILTERS = (StreamFilter(), StreamFilter(frozenset(TYPES[:1])), StreamFilter(frozenset(TYPES[1:])))
SMALL = 65_536


@dataclass
class Story:
    """A random run: how much happens, how large events are, and how slow everyone is."""

    seed: int
    events: int
    size: int
    lag: int
    store: int
    clients: int
    log: Log = field(init=False)
    chance: random.Random = field(init=False)
    wrong: list[str] = field(init=False, default_factory=list)

    async def stall(self, most: int) -> None:
        for _ in range(self.chance.randint(0, most)):
            await anyio.lowlevel.checkpoint()

    async def play(self) -> None:
        self.chance = random.Random(self.seed)
        self.log = Log(page=self.chance.randint(1, 5), pause=lambda: self.stall(self.store))
        for number in range(self.chance.randint(0, 10)):
            self.commit(number)
        with anyio.fail_after(20):
            async with running(self.log, stream_buffer_bytes=SMALL) as hub, anyio.create_task_group() as tasks:
                writing = anyio.Event()
                tasks.start_soon(self.write, writing)
                tasks.start_soon(self.publish, writing)
                for _ in range(self.clients):
                    tasks.start_soon(self.client, hub, self.chance.choice(FILTERS), writing)

    def commit(self, number: int) -> None:
        self.log.commit(make_event(number, type=self.chance.choice(TYPES), size=self.chance.randint(0, self.size)))

    async def write(self, writing: anyio.Event) -> None:
        for _ in range(self.events):
            await self.stall(6)
            for _ in range(self.chance.choice((1, 1, 1, 5))):
                self.commit(len(self.log.entries))
        writing.set()

    async def publish(self, writing: anyio.Event) -> None:
        while not writing.is_set() or self.log.published < len(self.log.entries):
            await self.stall(self.lag)
            self.log.publish(self.chance.randint(1, 8))
            await anyio.lowlevel.checkpoint()

    async def client(self, hub: StreamHub, filter: StreamFilter, writing: anyio.Event) -> None:
        """Connect, read, disconnect and reconnect until everything is written and read."""
        await self.stall(40)
        after: str | None = None
        position = 0
        while True:
            wanted = [entry for entry in self.log.entries if filter.matches(entry.event)]
            if after is None and wanted and self.chance.random() < 0.5:
                chosen = self.chance.choice(wanted)
                after, position = chosen.event.id, chosen.position
            reader = Reader(pause=lambda: self.stall(4))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reader.run, hub, filter, after)
                while len(reader.messages) < 1:
                    await anyio.lowlevel.checkpoint()
                begun = len(self.log.entries)
                done = await self.read(reader, filter, writing)
                reader.gone.set()
            position = self.check(reader, filter, after, position, begun)
            after = reader.last_event_id or after
            if done:
                # It has everything, so nothing is missing at the end either.
                late = [entry for entry in self.log.entries if filter.matches(entry.event)]
                if late and late[-1].position > max(position, 0 if after else begun):
                    self.wrong.append(f"{late[-1].position} never came, only up to {position}")
                return

    async def read(self, reader: Reader, filter: StreamFilter, writing: anyio.Event) -> bool:
        for _ in range(self.chance.randint(5, 120)):
            await anyio.lowlevel.checkpoint()
        if not writing.is_set():
            return False
        last = next((entry for entry in reversed(self.log.entries) if filter.matches(entry.event)), None)
        for _ in range(3000):
            if last is None or f'"number":{last.position - 1},'.encode() in reader.body:
                break
            await anyio.lowlevel.checkpoint()
        return True

    def check(self, reader: Reader, filter: StreamFilter, after: str | None, position: int, begun: int) -> int:
        """Compare what a connection received with the log. Returns the position to resume after.

        What came before the last id must have been received, also if that is a bare one.
        """
        positions = {entry.event.id: entry.position for entry in self.log.entries}
        told = [positions[block.fields["id"]] for block in reader.blocks if "id" in block.fields]
        got = [number + 1 for number in reader.numbers]
        last = told[-1] if told else position
        start = position
        if after is None and told:
            # A bare id says where it starts, at the latest with what is emitted from then on. Without any event before,
            # there is none.
            start = min(told[0], begun) if told[0] not in got else min(told[0] - 1, begun)
        wanted = [entry.position for entry in self.log.entries if filter.matches(entry.event)]
        expected = [number for number in wanted if start < number <= last]
        if got != expected:
            self.wrong.append(f"after {position if after else None} (begun at {begun}): {got}, not {expected}")
        return last


stories = st.builds(
    Story,
    seed=st.integers(0, 2**32),
    events=st.integers(1, 60),
    size=st.sampled_from((0, 500, 20_000)),
    lag=st.sampled_from((0, 5, 60)),
    store=st.sampled_from((0, 3, 30)),
    clients=st.integers(1, 6),
)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_no_event_is_missed_or_repeated_and_all_arrive_in_order(loop: str) -> None:
    @hypothesis_settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(stories)
    def tell(story: Story) -> None:
        anyio.run(story.play, backend=loop)
        assert story.wrong == []

    tell()
