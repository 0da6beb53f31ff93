"""Where a reader of the outbox on PostgreSQL starts, against a model of transactions and their snapshots."""

from __future__ import annotations

import random

import pytest

from starlette_webhooks.outbox.horizon import Horizon, Reading, Start
from tests.clock import Clock

SECOND = 1_000_000


class Server:
    """Transactions that insert rows, and a reader that moves what it sees. Numbers are given as PostgreSQL does."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1_000 * SECOND
        self.next = 100
        self.completed = 99
        self.open: dict[int, list[int]] = {}
        self.rows: list[int] = []
        self.walked = 0
        self.moved: list[int] = []
        self.clock = Clock(speed=0)
        self.horizon = Horizon(self.clock.monotonic, margin=SECOND)

    def number(self) -> int:
        self.next += 1
        return self.next - 1

    def end(self, number: int) -> None:
        self.completed = max(self.completed, number)

    def wait(self) -> None:
        seconds = self.random.choice((0.001, 0.1, 1.0, 20.0))
        self.now += int(seconds * SECOND)
        self.clock.advance(seconds)

    def insert(self) -> None:
        created = self.now
        # Between the time of the row and the number of its transaction.
        self.now += self.random.choice((1, SECOND // 2))
        number = self.random.choice(list(self.open)) if self.open and self.random.random() < 0.5 else self.number()
        self.open.setdefault(number, []).append(created)

    def finish(self) -> None:
        if self.open:
            # The newest one first more often, so that others stay open for long.
            number = self.random.choice([max(self.open), self.random.choice(list(self.open))])
            created = self.open.pop(number)
            self.end(number)
            if self.random.random() < 0.8:
                self.rows += created

    def read(self) -> None:
        start = self.horizon.start
        moment = self.now
        mark = self.number() if self.horizon.marks else None
        after = self.completed + 1
        listed = [number for number in self.open if number < after]
        ended = [
            began
            for number, began in zip(start.numbers, start.times, strict=True)
            if number < after and number not in listed
        ]
        at = min([start.floor, *ended])
        first = min((created for created in self.rows if created >= at), default=None)
        assert first == min(self.rows, default=None)
        self.walked = sum(created >= at for created in self.moved)
        if mark is not None:
            self.end(mark)
        snapshot = f"{min([*listed, after])}:{after}:{','.join(map(str, listed))}"
        self.horizon.read(start, Reading(first, moment, mark, snapshot), 0.0)
        # As many as a batch can have, and in order.
        moved = sorted(self.rows)[: self.random.choice((1, 1000))]
        self.moved += moved
        self.rows = [created for created in self.rows if created not in moved]


@pytest.mark.parametrize("seed", range(40))
def test_reader_sees_every_row_that_is_committed_whenever_its_transaction_began(seed: int) -> None:
    server = Server(seed)
    for _ in range(400):
        server.random.choice((server.insert, server.finish, server.read, server.wait))()


def test_reader_walks_over_few_moved_rows_while_a_transaction_stays_open() -> None:
    server = Server(1)
    server.insert()
    for _ in range(200):
        server.now += SECOND
        server.clock.advance(1)
        number = server.number()
        server.rows.append(server.now)
        server.end(number)
        server.read()
    assert len(server.moved) == 200
    # Everything is read twice a minute.
    walked = []
    for _ in range(10):
        server.now += SECOND
        server.clock.advance(1)
        server.read()
        walked.append(server.walked)
    assert sorted(walked)[-2] < 5, walked
    assert len(server.horizon.start.numbers) == 1


def test_transaction_that_is_not_part_of_a_snapshot_may_have_begun_at_the_last_mark() -> None:
    horizon = Horizon(Clock(speed=0).monotonic, margin=0)
    horizon.read(Start(), Reading(None, 10, 100, "100:100:"), 0.0)
    # 101 is open, and nothing after it has ended.
    horizon.read(horizon.start, Reading(None, 50, None, "101:101:"), 0.0)
    assert horizon.start == Start(10, [], [])
    horizon.read(horizon.start, Reading(None, 60, 102, "101:101:"), 0.0)
    horizon.read(horizon.start, Reading(None, 70, None, "101:103:101"), 0.0)
    assert horizon.start == Start(60, [101], [10])


def test_everything_is_read_from_time_to_time_and_after_the_clock_was_set_back() -> None:
    clock = Clock(speed=0)
    horizon = Horizon(clock.monotonic, margin=0)
    assert horizon.start == Start()
    horizon.read(Start(), Reading(None, 10, 100, "100:100:"), 0.0)
    horizon.read(horizon.start, Reading(None, 20, None, "101:101:"), 0.0)
    assert horizon.start == Start(10, [], [])
    horizon.read(horizon.start, Reading(None, 15, None, "101:101:"), 0.0)
    assert horizon.start.floor == 0
    horizon.read(horizon.start, Reading(None, 30, 101, "101:101:"), 0.0)
    horizon.read(horizon.start, Reading(None, 40, None, "102:102:"), 0.0)
    assert horizon.start == Start(30, [], [])
    clock.advance(30)
    assert horizon.start == Start()
    # A slow one less often.
    horizon.read(Start(), Reading(None, 50, None, "102:102:"), 2.0)
    clock.advance(199)
    assert horizon.start == Start(30, [], [])
