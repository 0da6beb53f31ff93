"""The database: group commit, isolation of failures, threads, processes, a full disk, and a newer schema."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from starlette_webhooks.exceptions import BackendUnavailable, NotRunning, QueueFull
from starlette_webhooks.stores.sqlite.database import Database, Write
from tests.eventually import eventually


def put(name: str) -> Callable[[sqlite3.Connection], int]:
    def write(connection: sqlite3.Connection) -> int:
        return connection.execute("INSERT INTO meta VALUES (?, 'x')", (name,)).rowcount

    return write


def names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM meta")}


async def test_writes_that_come_together_share_one_transaction(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))
    batches: list[int] = []
    database.on_commit.append(lambda writes: batches.append(len(writes)))
    async with database.lifespan():
        writes = [database.submit(put(f"n{n}")) for n in range(100)]
        for write in writes:
            assert await write.wait() == 1
        assert await database.read(names) == {f"n{n}" for n in range(100)}
    assert batches == [100]


async def test_callers_who_were_answered_together_come_back_into_one_transaction(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))
    batches: list[int] = []
    database.on_commit.append(lambda writes: batches.append(len(writes)))

    committing, going_on = threading.Event(), threading.Event()

    def put_slowly(connection: sqlite3.Connection) -> None:
        committing.set()
        going_on.wait(10)

    async def call(name: str) -> None:
        for turn in range(40):
            await database.write(put(f"{name}-{turn}"))

    async with database.lifespan():
        async with anyio.create_task_group() as tasks:
            for n in range(5):
                tasks.start_soon(call, f"a{n}")
            database.submit(put_slowly)
            await eventually(committing.is_set)
            # These come while a commit of the others is running. If each commit were followed immediately by the next
            # one, both groups would take turns forever.
            for n in range(5):
                tasks.start_soon(call, f"b{n}")
            await anyio.wait_all_tasks_blocked()
            going_on.set()
    assert sum(batches) == 401
    assert batches.count(10) > 20


async def test_the_thread_that_writes_ends_with_the_lifespan(tmp_path: Path) -> None:
    def writers() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "starlette_webhooks-writer"]

    database = Database(str(tmp_path / "a.db"))
    for turn in range(2):
        async with database.lifespan():
            assert len(writers()) == 1
            await database.write(put(f"n{turn}"))
        assert not writers()


async def test_a_failing_listener_of_commits_does_not_block_waiting_callers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(writes: Sequence[Write[Any]]) -> None:
        raise LookupError("a bug")

    heard: list[int] = []
    database = Database(str(tmp_path / "a.db"))
    database.on_commit += [fail, lambda writes: heard.append(len(writes))]
    async with database.lifespan():
        with anyio.fail_after(5):
            assert await database.write(put("a")) == 1
            assert await database.write(put("b")) == 1
    assert heard == [1, 1]
    assert "LookupError: a bug" in caplog.text


async def test_a_failing_write_fails_alone(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO meta VALUES ('half', 'x')")
        raise LookupError("no such thing")

    async with database.lifespan():
        first, broken, last = database.submit(put("first")), database.submit(fail), database.submit(put("last"))
        assert await first.wait() == 1
        with pytest.raises(LookupError):
            await broken.wait()
        assert await last.wait() == 1
        assert await database.read(names) == {"first", "last"}


async def test_a_write_from_another_thread_wakes_the_writer(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))
    async with database.lifespan():
        write = await to_thread.run_sync(lambda: database.submit(put("thread")))
        with anyio.fail_after(5):
            assert await write.wait() == 1


async def test_writes_submitted_before_the_end_are_committed_at_the_end(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))
    async with database.lifespan():
        writes = [database.submit(put(f"n{n}")) for n in range(10)]
    assert all(write.finished and write.result == 1 for write in writes)
    with sqlite3.connect(tmp_path / "a.db") as connection:
        assert len(names(connection)) == 10
    connection.close()


async def test_writes_submitted_before_a_cancellation_are_committed(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))
    with anyio.CancelScope() as scope:
        async with database.lifespan():
            write = database.submit(put("late"))
            scope.cancel()
    assert write.finished
    assert write.result == 1


async def test_outside_its_lifespan_the_database_refuses_writes(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))
    with pytest.raises(NotRunning, match="lifespan"):
        database.submit(put("early"))
    async with database.lifespan():
        pass
    with pytest.raises(NotRunning, match="lifespan"):
        database.submit(put("late"))


async def test_the_queue_is_bounded_by_number_and_by_bytes(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"), max_writes=3, max_bytes=100)
    async with database.lifespan():
        database.submit(put("a"), size=60)
        with pytest.raises(QueueFull):
            database.submit(put("b"), size=60)
        database.submit(put("c"), size=10)
        last = database.submit(put("d"), size=10)
        with pytest.raises(QueueFull):
            database.submit(put("e"))
        await last.wait()
        assert await database.write(put("f")) == 1


async def test_one_write_larger_than_the_bound_is_accepted_when_nothing_waits(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"), max_bytes=10)
    async with database.lifespan():
        assert await database.submit(put("large"), size=1000).wait() == 1


async def test_a_full_disk_is_reported_to_every_caller_and_nothing_is_half_written(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 60")
        for n in range(1000):
            connection.execute("INSERT INTO meta VALUES (?, ?)", (f"fill{n}", b"x" * 4000))

    async with database.lifespan():
        small, large = database.submit(put("small")), database.submit(fill)
        with pytest.raises(BackendUnavailable, match="full"):
            await large.wait()
        try:
            await small.wait()
            expected = {"small"}
        except BackendUnavailable:
            expected = set()
        assert await database.read(names) == expected
        await database.write(lambda connection: connection.execute("PRAGMA max_page_count = 100000"))
        assert await database.write(put("again")) == 1


async def test_a_snapshot_does_not_see_what_is_committed_while_it_is_read(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))
    inside, done = threading.Event(), threading.Event()

    def look_twice(connection: sqlite3.Connection) -> tuple[set[str], set[str]]:
        before = names(connection)
        inside.set()
        done.wait(5)
        return before, names(connection)

    async with database.lifespan():
        seen: list[tuple[set[str], set[str]]] = []

        async def look() -> None:
            seen.append(await database.read(look_twice))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            await to_thread.run_sync(inside.wait)
            await database.write(put("meanwhile"))
            done.set()
        assert seen == [(set(), set())]


async def test_the_database_is_durable_as_wal_and_full_promise(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))

    def pragmas(connection: sqlite3.Connection) -> tuple[Any, ...]:
        return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous"))

    async with database.lifespan():
        await database.write(lambda connection: None)
        assert await database.write(pragmas) == ("wal", 2)


def write_for_a_while(path: str, seconds: float, report: Any) -> None:
    async def main() -> None:
        database = Database(path)
        longest, count = 0.0, 0
        async with database.lifespan():
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                start = time.monotonic()
                writes = [database.submit(put(f"{os.getpid()}-{count}-{n}")) for n in range(16)]
                await writes[-1].wait()
                longest = max(longest, time.monotonic() - start)
                count += 1
        report.put((count, longest))

    anyio.run(main)


def test_processes_that_write_at_full_speed_take_turns_and_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    processes = [context.Process(target=write_for_a_while, args=(path, 1.5, reports)) for _ in range(3)]
    for process in processes:
        process.start()
    results = [reports.get(timeout=50) for _ in processes]
    for process in processes:
        process.join(10)
    with sqlite3.connect(path) as connection:
        assert len(names(connection)) == 16 * sum(count for count, _ in results)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    # None of them waits as long as the others work.
    assert all(count > 0 and longest < 1.4 for count, longest in results)


async def test_accepted_writes_are_committed_when_everything_is_cancelled(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))
    late: list[int] = []
    with anyio.CancelScope() as scope:
        async with database.lifespan():
            try:
                first = database.submit(put("first"))
                scope.cancel()
                await anyio.sleep(1)
            finally:
                with anyio.fail_after(5, shield=True):
                    late.append(await database.write(put("late")))
    assert (first.result, late) == (1, [1])
