"""When old events are removed, and when they are not."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from starlette_webhooks.backends.pruner import Pruner
from starlette_webhooks.events import EventQuery
from starlette_webhooks.payloads import new_event
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.clock import Clock

HOUR = 3600.0
DAY = 24 * HOUR


class Case:
    """A store with an event, and the clock of its process."""

    def __init__(self) -> None:
        self.clock = Clock(speed=0)
        self.store = SQLiteStore(":memory:", clock=self.clock)
        self.pruner = Pruner(self.store, days=2, monotonic=self.clock.monotonic)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, in steps of at most an hour."""
        while seconds > 0:
            self.clock.advance(min(seconds, HOUR))
            seconds -= HOUR
            await self.pruner.look()

    async def kept(self) -> int:
        return len((await self.store.list_events("acme", EventQuery())).items)


@asynccontextmanager
async def case() -> AsyncGenerator[Case]:
    one = Case()
    async with one.store.lifespan():
        await one.store.submit([new_event("a.b", {}, tenant="acme")]).wait()
        yield one


async def test_an_event_is_kept_for_as_long_as_the_setting_says() -> None:
    async with case() as one:
        await one.pass_time(2 * DAY - 60)
        assert await one.kept() == 1
        await one.pass_time(HOUR + 60)
        assert await one.kept() == 0


async def test_a_fresh_event_outlives_a_jump_of_the_clock() -> None:
    async with case() as one:
        await one.pass_time(HOUR)
        one.clock.set_by(3 * DAY)
        await one.pass_time(60)
        one.clock.set_by(-3 * DAY)
        await one.pass_time(2 * HOUR)
        assert await one.kept() == 1


async def test_a_clock_that_was_set_right_is_trusted_after_ten_minutes() -> None:
    async with case() as one:
        await one.pass_time(HOUR)
        one.clock.set_by(3 * DAY)
        for _ in range(9):
            await one.pass_time(60)
        assert await one.kept() == 1
        await one.pass_time(HOUR)
        assert await one.kept() == 0


async def test_nothing_is_removed_right_after_the_start() -> None:
    async with case() as one:
        one.clock.set_by(3 * DAY)
        one.pruner = Pruner(one.store, days=2, monotonic=one.clock.monotonic)
        await one.pass_time(30)
        assert await one.kept() == 1
        await one.pass_time(31)
        assert await one.kept() == 0


async def test_an_error_is_logged_and_the_next_hour_tries_again() -> None:
    async with case() as one:
        await one.store.database.write(lambda c: c.execute("ALTER TABLE attempt RENAME TO hidden").close())
        await one.pass_time(3 * DAY)
        assert await one.kept() == 1
        await one.store.database.write(lambda c: c.execute("ALTER TABLE hidden RENAME TO attempt").close())
        await one.pass_time(HOUR)
        assert await one.kept() == 0


async def test_any_other_error_is_logged_with_its_traceback_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    one = Case()
    # The store is not open.
    await one.pass_time(HOUR)
    assert caplog.text.count("Old events could not be removed. Trying again in an hour.") == 1
    assert "NotRunning" in caplog.text
    async with one.store.lifespan():
        await one.pass_time(HOUR)
    assert caplog.text.count("could not be removed") == 1
