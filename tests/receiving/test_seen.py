"""Stores of seen ids: in memory and in a file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from starlette_webhooks.receiving import MemorySeenIds, SeenIds, SQLiteSeenIds
from starlette_webhooks.receiving.seen import SeenState

NOW = 1_800_000_000.0


@pytest.fixture(params=["memory", "sqlite"])
async def seen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[SeenIds]:
    if request.param == "memory":
        yield MemorySeenIds()
        return
    store = SQLiteSeenIds(tmp_path / "seen.db")
    yield store
    await store.aclose()


async def begin(seen: SeenIds, identifier: str = "msg_1", now: float = NOW) -> SeenState:
    return await seen.begin(identifier, now=now, until=now + 60)


async def test_an_id_is_new_then_running_then_handled_then_new_again(seen: SeenIds) -> None:
    assert [await begin(seen), await begin(seen)] == [SeenState.NEW, SeenState.RUNNING]
    await seen.finish("msg_1", until=NOW + 1000)
    assert [await begin(seen, now=NOW + 999), await begin(seen, now=NOW + 1000)] == [SeenState.HANDLED, SeenState.NEW]
    assert await begin(seen, "msg_2") is SeenState.NEW


async def test_an_id_whose_handling_failed_is_new(seen: SeenIds) -> None:
    await begin(seen)
    await seen.forget("msg_1")
    assert await begin(seen) is SeenState.NEW


async def test_an_id_whose_process_was_killed_is_new_after_its_lease(seen: SeenIds) -> None:
    await begin(seen)
    assert [await begin(seen, now=NOW + 59), await begin(seen, now=NOW + 60)] == [SeenState.RUNNING, SeenState.NEW]


async def test_of_several_requests_at_the_same_time_one_handles_the_webhook(seen: SeenIds) -> None:
    states: list[SeenState] = []

    async def ask() -> None:
        states.append(await begin(seen))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(ask)
    assert states.count(SeenState.NEW) == 1
    assert states.count(SeenState.RUNNING) == 7


async def test_memory_has_a_limit() -> None:
    seen = MemorySeenIds(most=2)
    for number in range(3):
        await seen.finish(f"msg_{number}", until=NOW + 1000)
    assert [await begin(seen, f"msg_{number}") for number in (1, 2, 0)] == [
        SeenState.HANDLED,
        SeenState.HANDLED,
        SeenState.NEW,
    ]


async def test_a_file_is_shared_survives_a_restart_and_is_pruned(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    first, second = SQLiteSeenIds(path), SQLiteSeenIds(path)
    assert await begin(first) is SeenState.NEW
    assert await begin(second) is SeenState.RUNNING
    await second.finish("msg_1", until=NOW + 1000)
    await first.aclose()
    assert await begin(first) is SeenState.HANDLED
    assert await begin(first, "msg_2", NOW + 2000) is SeenState.NEW
    for store in (first, second):
        await store.aclose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM seen_webhook").fetchall() == [("msg_2",)]
