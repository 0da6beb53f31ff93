"""The figures for `health()`: read while somebody asks for them, and not otherwise."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from starlette_webhooks.backends.statistics import Statistics
from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.operations import Overview


class Database:
    """Counts how often it is read, in a time that passes while somebody sleeps or reads."""

    def __init__(self) -> None:
        self.reads = 0
        self.away = False
        self.seconds = 0.0
        self.now = 1000.0
        self.slept: list[float] = []

    async def overview(self) -> Overview:
        self.reads += 1
        self.now += self.seconds
        if self.away:
            raise BackendUnavailable
        return Overview(now=self.reads)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def database() -> Database:
    """The database that is read."""
    return Database()


def call(function: Callable[[], None]) -> None:
    function()


@asynccontextmanager
async def reading(database: Database) -> AsyncGenerator[Statistics[Overview]]:
    """Statistics that have read once."""
    statistics = Statistics(database.overview, call_soon=call, monotonic=lambda: database.now, sleep=database.sleep)
    async with running_beside(statistics.run):
        await anyio.wait_all_tasks_blocked()
        assert database.reads == 1
        yield statistics


async def test_they_are_read_for_a_minute_after_somebody_asked_and_then_no_more(database: Database) -> None:
    async with reading(database) as statistics:
        assert statistics.ask() == (Overview(now=1), 0.0)
        await anyio.wait_all_tasks_blocked()
        assert max(database.slept) <= 2
        assert 60 <= sum(database.slept) < 63
        assert database.reads == 1 + 1 + len(database.slept)
        database.now += 3600
        assert statistics.ask() == (Overview(now=database.reads), 3600.0)
        before = database.reads
        await anyio.wait_all_tasks_blocked()
        assert database.reads > before


async def test_figures_that_take_long_are_read_less_often(database: Database) -> None:
    async with reading(database) as statistics:
        database.seconds = 1.0
        statistics.ask()
        await anyio.wait_all_tasks_blocked()
        assert set(database.slept) == {10.0}


async def test_while_the_database_is_away_the_last_ones_stay_and_their_age_tells_it(database: Database) -> None:
    async with reading(database) as statistics:
        database.away = True
        database.now += 5
        await statistics.refresh()
        assert statistics.ask() == (Overview(now=1), 5.0)
        database.away = False
        await statistics.refresh()
        assert statistics.ask() == (Overview(now=database.reads), 0.0)


async def test_many_who_want_them_read_at_once_cause_one_reading() -> None:
    go_on, reads = anyio.Event(), 0

    async def overview() -> Overview:
        nonlocal reads
        reads += 1
        await go_on.wait()
        return Overview(now=reads)

    statistics = Statistics(overview, call_soon=call)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(statistics.refresh)
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    found = statistics.ask()
    assert found is not None
    assert (found[0], reads) == (Overview(now=1), 1)
    await statistics.refresh()
    assert reads == 2
