"""The database under faults: suspended processes, a full disk, and files that disappear."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from starlette_webhooks.exceptions import BackendRefused, BackendUnavailable, NotRunning
from starlette_webhooks.stores.sqlite.database import Database
from tests.eventually import eventually
from tests.forking import in_child
from tests.holding import holding_file_lock, holding_sqlite_lock
from tests.scarcity import no_free_threads


def put(name: str) -> Callable[[sqlite3.Connection], int]:
    def write(connection: sqlite3.Connection) -> int:
        return connection.execute("INSERT INTO meta VALUES (?, 'x')", (name,)).rowcount

    return write


def names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM meta")}


def make(tmp_path: Path, **options: Any) -> Database:
    return Database(str(tmp_path / "a.db"), **{"lock_seconds": 0.3, "watch_every": 0.05, **options})


async def failure(database: Database, name: str = "a") -> str:
    with pytest.raises(BackendUnavailable) as caught:
        await database.write(put(name))
    return str(caught.value)


@pytest.fixture
async def stack() -> Any:
    """Ends the processes that hold locks for a test, outside the event loop's thread."""
    with ExitStack() as stack:
        yield stack


async def test_while_a_stopped_process_holds_the_lock_writes_fail_at_a_deadline_and_then_soon(
    tmp_path: Path, stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    database = make(tmp_path)
    async with database.lifespan():
        pid = await to_thread.run_sync(stack.enter_context, holding_file_lock(tmp_path / "a.db"))
        started = time.monotonic()
        assert f"process {pid} has held its lock for more than 0.3 s" in await failure(database)
        assert 0.3 <= time.monotonic() - started < 5
        assert str(pid) in (database.problem or "")
        for _ in range(3):
            await failure(database)
        assert await database.read(names) == set(), "it can be read meanwhile"
        await to_thread.run_sync(stack.close)
        await eventually(lambda: database.problem is None)
        await database.write(put("b"))
        assert await database.read(names) == {"b"}
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"], "one line for each change"


async def test_while_a_stopped_process_holds_the_lock_start_and_stop_take_no_longer_than_the_deadline(
    tmp_path: Path, stack: ExitStack
) -> None:
    async with make(tmp_path).lifespan():
        pass
    with anyio.fail_after(10):
        async with (database := make(tmp_path)).lifespan():
            pid = await to_thread.run_sync(stack.enter_context, holding_file_lock(tmp_path / "a.db"))
            write = database.submit(put("a"))
        assert write.failed
        with pytest.raises(BackendUnavailable, match=f"process {pid} has held its lock"):
            async with make(tmp_path).lifespan():
                raise AssertionError("it was opened")


async def test_while_another_program_writes_there_is_one_short_wait_and_the_lock_is_free_for_others(
    tmp_path: Path, stack: ExitStack
) -> None:
    database, other = make(tmp_path, busy_seconds=0.2), make(tmp_path, busy_seconds=0.2)
    async with database.lifespan(), other.lifespan():
        pid = await to_thread.run_sync(stack.enter_context, holding_sqlite_lock(tmp_path / "a.db"))
        started = time.monotonic()
        writes = [database.submit(put(f"n{n}")) for n in range(3)]
        for write in writes:
            with pytest.raises(BackendUnavailable, match=f"database is locked by process {pid}"):
                await write.wait()
        assert time.monotonic() - started < 5
        assert "is locked" in await failure(other), "it waited for SQLite's lock, not for ours"
        await to_thread.run_sync(stack.close)
        await eventually(lambda: database.problem is None and other.problem is None)


async def test_a_program_that_writes_is_named_and_not_our_process_that_waits_for_it(
    tmp_path: Path, stack: ExitStack
) -> None:
    database = make(tmp_path)
    async with database.lifespan():
        writer = await to_thread.run_sync(stack.enter_context, holding_sqlite_lock(tmp_path / "a.db"))
        ours = await to_thread.run_sync(stack.enter_context, holding_file_lock(tmp_path / "a.db"))
        assert f"process {writer} has locked it for writing, and process {ours} waits" in await failure(database)
        await to_thread.run_sync(stack.close)
        await eventually(lambda: database.problem is None)


async def test_a_full_disk_is_logged_once_and_so_is_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def fill(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        connection.executemany("INSERT INTO meta VALUES (?, ?)", ((f"fill{n}", b"x" * 4000) for n in range(100)))

    database = make(tmp_path)
    async with database.lifespan():
        for n in range(5):
            with pytest.raises(BackendUnavailable, match="full"):
                await database.write(fill)
            with pytest.raises(BackendUnavailable, match="full"):
                await database.write(lambda c, n=n: c.execute("INSERT INTO meta VALUES (?, ?)", (n, b"x" * 20_000)))  # type: ignore[misc]
        assert "full" in (database.problem or "")
        await database.write(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchall())
        await eventually(lambda: database.problem is None)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


async def test_a_faulty_write_is_not_a_problem_of_the_database(tmp_path: Path) -> None:
    database = make(tmp_path)
    async with database.lifespan():
        await database.write(put("a"))
        with pytest.raises(BackendRefused, match="UNIQUE"):
            await database.write(put("a"))
        assert database.problem is None


def remove(path: Path) -> None:
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink()


def replace(path: Path) -> None:
    copy = path.with_name("copy.db")
    shutil.copyfile(path, copy)
    copy.rename(path)


def remove_wal(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def remove_shm(path: Path) -> None:
    Path(f"{path}-shm").unlink()


@pytest.mark.parametrize("lose", [remove, replace, remove_wal, remove_shm])
async def test_a_file_that_is_removed_or_replaced_fails_what_would_be_lost(
    tmp_path: Path, lose: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    database = make(tmp_path, watch_every=60)
    async with database.lifespan():
        await database.write(put("kept"))
        lose(tmp_path / "a.db")
        assert "was removed or replaced" in await failure(database, "lost")
        with pytest.raises(BackendUnavailable, match="was removed or replaced"):
            await database.read(names)
        assert "was removed or replaced" in (database.problem or "")
        await failure(database, "lost, too")
    assert caplog.text.count("was removed or replaced") == 1


async def test_a_removed_file_is_noticed_without_a_write_and_used_again_when_it_is_back(
    tmp_path: Path,
) -> None:
    database = make(tmp_path)
    async with database.lifespan():
        (tmp_path / "a.db").rename(tmp_path / "b.db")
        await eventually(lambda: database.problem is not None)
        with pytest.raises(BackendUnavailable, match="was removed or replaced"):
            await database.read(names)
        (tmp_path / "b.db").rename(tmp_path / "a.db")
        await eventually(lambda: database.problem is None)
        await database.write(put("a"))
        assert await database.read(names) == {"a"}


async def test_a_slow_commit_shows_in_health(tmp_path: Path) -> None:
    database = make(tmp_path, lock_seconds=0.05, busy_seconds=0.05)
    done = threading.Event()
    async with database.lifespan():
        write = database.submit(lambda connection: done.wait(10))
        await eventually(lambda: "has taken" in (database.problem or ""))
        done.set()
        await write.wait()
        assert database.problem is None


async def test_without_a_free_thread_it_still_writes_and_closes(tmp_path: Path) -> None:
    database = make(tmp_path, watch_every=0.01)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(database.lifespan())
        with no_free_threads():
            await database.write(put("a"))
            await anyio.sleep(0.05)
        await database.write(put("b"))
        assert await database.read(names) == {"a", "b"}
        with no_free_threads():
            last = database.submit(put("c"))
            await stack.aclose()
    assert last.result == 1
    async with database.lifespan():
        assert await database.read(names) == {"a", "b", "c"}


async def test_a_forked_child_inherits_nothing_and_can_open_the_file_itself(tmp_path: Path) -> None:
    database = make(tmp_path)

    def submit_in_child() -> int:
        try:
            database.submit(put("child"))
        except NotRunning as exc:
            return 0 if "forked" in str(exc) else 1
        return 2

    async def open_in_child() -> int:
        with suppress(NotRunning):
            await database.read(names)
            raise AssertionError("it was read")
        async with database.lifespan():
            return await database.write(put("child"))

    async with database.lifespan():
        await database.write(put("parent"))
        await database.read(names)
        assert await to_thread.run_sync(in_child, submit_in_child) == 0
        assert await to_thread.run_sync(in_child, lambda: anyio.run(open_in_child) - 1) == 0
        await database.write(put("parent again"))
        assert await database.read(names) == {"parent", "child", "parent again"}
