"""A backup that is copied over a database is refused with the old `-wal`, at startup and while in use."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.sqlite.database import Database
from starlette_webhooks.stores.sqlite.lineage import begin_counting, read_file, read_wal
from tests.eventually import eventually

PAGES = 1000
"""The length of a `-wal` at which SQLite makes a checkpoint."""


def put(name: str, size: int = 0) -> Callable[[sqlite3.Connection], int]:
    def write(connection: sqlite3.Connection) -> int:
        return connection.execute("INSERT INTO meta VALUES (?, ?)", (name, b"x" * size)).rowcount

    return write


def names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM meta ORDER BY name")]


async def write_past_a_checkpoint(database: Database, name: str) -> None:
    # The second commit runs the checkpoint, and the third one restarts the `-wal`.
    for number in range(3):
        await database.write(put(f"{name}{number}", 4096 * PAGES * 2 // 3))


def leave_as_killed(path: Path) -> Path:
    """Copy an open database, as a killed process leaves it."""
    left = path.with_name("left.db")
    for end in ("", "-wal"):
        shutil.copyfile(f"{path}{end}", f"{left}{end}")
    return left


def remove_wal(path: Path) -> None:
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)


def copy_file(path: Path, to: Path) -> None:
    shutil.copyfile(path, to)


def copy_by_sqlite(path: Path, to: Path) -> None:
    source, copy = sqlite3.connect(path), sqlite3.connect(to)
    source.backup(copy)
    copy.close()
    source.close()


BACKUPS = [copy_file, copy_by_sqlite]


@pytest.mark.parametrize("back_up", BACKUPS)
async def test_backup_from_before_a_checkpoint_is_refused_with_the_old_wal_and_sound_without_it(
    tmp_path: Path, back_up: Callable[[Path, Path], None]
) -> None:
    path, backup = tmp_path / "a.db", tmp_path / "backup.db"
    async with (database := Database(str(path))).lifespan():
        await write_past_a_checkpoint(database, "a")
        await database.write(put("b"))
        back_up(path, backup)
        await write_past_a_checkpoint(database, "c")
        left = leave_as_killed(path)
    shutil.copyfile(backup, left)
    # Without the check for damage, which would detect some of these.
    with pytest.raises(BackendUnavailable, match=f"remove '{left}-wal'"):
        async with Database(str(left), check_seconds=0.001).lifespan():
            raise AssertionError("it was opened")
    assert left.read_bytes() == backup.read_bytes(), "the backup is left as it is"
    remove_wal(left)
    async with (database := Database(str(left))).lifespan():
        assert "a0" in await database.read(names)


@pytest.mark.parametrize("back_up", BACKUPS)
async def test_backup_that_the_wal_continues_is_accepted_and_complete(
    tmp_path: Path, back_up: Callable[[Path, Path], None]
) -> None:
    path, backup = tmp_path / "a.db", tmp_path / "backup.db"
    async with (database := Database(str(path))).lifespan():
        await write_past_a_checkpoint(database, "a")
        await database.write(put("b"))
        back_up(path, backup)
        await database.write(put("c"))
        left = leave_as_killed(path)
        everything = await database.read(names)
    shutil.copyfile(backup, left)
    async with (database := Database(str(left))).lifespan():
        assert await database.read(names) == everything


@pytest.mark.parametrize("bits", [0, 1, 7, 15, 23, 31, 47, 55])
def test_the_last_commit_in_a_wal_is_found_whatever_its_number(bits: int, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE one (id INTEGER PRIMARY KEY AUTOINCREMENT)")
        # Its number is in the same page.
        connection.execute("INSERT INTO one DEFAULT VALUES")
        database, _ = begin_counting(connection)
        for number in (2**bits - 1, 2**bits):
            connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (number, database))
            held = read_wal(str(path))
            assert held is not None
            assert held[1] == (database, number)
        # Without the mark of its commit, the last page is from a transaction that was not finished.
        wal = bytearray(Path(f"{path}-wal").read_bytes())
        size = int.from_bytes(wal[8:12]) + 24
        wal[-size + 4 : -size + 8] = bytes(4)
        Path(f"{tmp_path / 'b.db'}-wal").write_bytes(wal)
        held = read_wal(str(tmp_path / "b.db"))
        assert held is not None
        assert held[1] == (database, 2**bits - 1)


async def test_what_a_killed_process_left_is_opened_wherever_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with (database := Database(str(path))).lifespan():
        for number in range(20):
            await database.write(put(f"n{number:02}", 4096 * PAGES // 6))
            left = leave_as_killed(path)
            async with (copy := Database(str(left), check_seconds=0.001)).lifespan():
                assert len(await copy.read(names)) == number + 1


async def test_damage_that_the_count_of_commits_does_not_show_is_found_by_the_check(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with (database := Database(str(path))).lifespan():
        await write_past_a_checkpoint(database, "a")
        left = leave_as_killed(path)
    content = left.read_bytes()
    # The pointer from one page of a long value to the next.
    left.write_bytes(content[: 4096 * 400] + b"\xff" * 4 + content[4096 * 400 + 4 :])
    with pytest.raises(BackendUnavailable, match=f"is damaged.*remove '{left}-wal'"):
        async with Database(str(left)).lifespan():
            raise AssertionError("it was opened")


async def test_file_of_another_database_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "a.db", tmp_path / "other.db"
    async with Database(str(other)).lifespan():
        pass
    async with (database := Database(str(path))).lifespan():
        await database.write(put("a"))
        left = leave_as_killed(path)
    shutil.copyfile(other, left)
    with pytest.raises(BackendUnavailable, match="belongs to the old file"):
        async with Database(str(left)).lifespan():
            raise AssertionError("it was opened")


@pytest.mark.parametrize("back_up", BACKUPS)
async def test_file_that_is_overwritten_in_use_gets_no_more_writes(
    tmp_path: Path, back_up: Callable[[Path, Path], None]
) -> None:
    path, backup = tmp_path / "a.db", tmp_path / "backup.db"
    async with (database := Database(str(path), watch_every=60)).lifespan():
        await write_past_a_checkpoint(database, "a")
        back_up(path, backup)
        await write_past_a_checkpoint(database, "b")
        await database.write(put("c"))
        shutil.copyfile(backup, path)
        for _ in range(2):
            with pytest.raises(BackendUnavailable, match="was overwritten, for example by a backup"):
                await database.write(put("lost", 4096 * PAGES * 2))
            with pytest.raises(BackendUnavailable):
                await database.read(names)
        assert "overwritten" in (database.problem or "")
    assert path.read_bytes() == backup.read_bytes(), "no checkpoint was made into the backup"


async def test_file_that_is_overwritten_is_noticed_without_a_write(tmp_path: Path) -> None:
    path, backup = tmp_path / "a.db", tmp_path / "backup.db"
    async with (database := Database(str(path), watch_every=0.02)).lifespan():
        copy_by_sqlite(path, backup)
        await write_past_a_checkpoint(database, "a")
        shutil.copyfile(backup, path)
        await eventually(lambda: "overwritten" in (database.problem or ""))


async def test_the_wal_shows_its_first_and_last_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    assert read_wal(str(path)) is None
    async with (database := Database(str(path))).lifespan():
        # Numbers of one and two bytes, and one that is part of the record's type.
        for number in range(300):
            await database.write(put(f"n{number}"))
        held, there = read_wal(str(path)), read_file(str(path))
        assert held is not None
        first, last = held
        assert (first.number, last.number) == (1, 301)
        assert there is None, "no checkpoint was made"
        counted = await database.read(
            lambda c: c.execute("SELECT name, seq FROM sqlite_sequence WHERE name GLOB 'commits:*'").fetchone()
        )
        assert tuple(last) == counted
    assert read_wal(str(path)) is None, "the last one to close removes it"
    assert read_file(str(path)) == last


def test_a_wal_of_something_else_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.db-wal").write_bytes(b"something else")
    assert read_wal(str(tmp_path / "a.db")) is None
