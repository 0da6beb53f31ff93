"""Opening a file by its real path, for its owner only, and only if it is ours and intact."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import anyio
import psutil  # type: ignore[import-untyped]
import pytest

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.sqlite.database import Database
from starlette_webhooks.stores.sqlite.exclusive import opened_alone
from starlette_webhooks.stores.sqlite.opening import APPLICATION_ID
from tests.servers import ROOT

FILL_AND_DIE = """
import os, sqlite3, sys
import anyio
from starlette_webhooks import Webhooks, WebhooksSettings

path, backup = sys.argv[1:]
webhooks = Webhooks(event_types=["a.b"], settings=WebhooksSettings(database=path))

async def main():
    async with webhooks.lifespan():
        for number in range(6000):
            emission = webhooks.emitter(f"t{number % 50}").emit("a.b", {"padding": "x" * (number * 37 % 1500)})
            if number == 3000:
                await emission
                with sqlite3.connect(path) as source, sqlite3.connect(backup) as copy:
                    source.backup(copy)
        await emission
        os.kill(os.getpid(), 9)

anyio.run(main)
"""


def put(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO meta VALUES ('name', 'x')")


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM meta").fetchone()[0])


def run_sql(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.executescript(statement)
    connection.close()


async def open_and_put(path: Path) -> int:
    async with (database := Database(str(path))).lifespan():
        await database.write(put)
        return await database.read(count)


async def refusal(path: Path) -> str:
    with pytest.raises(BackendUnavailable) as caught:
        await open_and_put(path)
    return str(caught.value)


def modes_in(directory: Path) -> dict[str, int]:
    return {file.name: file.lstat().st_mode & 0o777 for file in directory.iterdir()}


async def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        async with (database := Database(str(tmp_path / "a.db"))).lifespan():
            await database.write(put)
            modes = modes_in(tmp_path)
    finally:
        os.umask(mask)
    assert modes == {"a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600, "a.db-lock": 0o600}


async def test_a_file_that_any_user_can_read_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.db").touch(0o644)
    await open_and_put(tmp_path / "a.db")
    assert "chmod 600" in caplog.text


async def test_after_a_change_of_directory_it_is_still_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with (database := Database("a.db")).lifespan():
        monkeypatch.chdir(tmp_path / "elsewhere")
        await database.write(put)
        assert await database.read(count) == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_a_symbolic_link_leads_to_the_same_lock(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a.db")
    async with Database(str(tmp_path / "a.db")).lifespan():
        async with (database := Database(str(tmp_path / "link"))).lifespan():
            await database.write(put)
    assert modes_in(tmp_path).keys() == {"a.db", "a.db-lock", "link"}


async def test_a_file_is_marked_as_ours(tmp_path: Path) -> None:
    await open_and_put(tmp_path / "a.db")
    with sqlite3.connect(tmp_path / "a.db") as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


async def test_a_file_from_before_the_mark_is_recognised_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    run_sql(path, Path(__file__).with_name("schema_1.sql").read_text(), "PRAGMA user_version = 1")
    assert await open_and_put(path) == 1
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(["CREATE TABLE users (name TEXT)"], id="without a version"),
        pytest.param(["CREATE TABLE users (name TEXT)", "PRAGMA user_version = 1"], id="with version 1"),
        pytest.param(["PRAGMA application_id = 252006673"], id="marked by Fossil"),
        pytest.param(["CREATE TABLE event (name TEXT)", "PRAGMA user_version = 1"], id="with a table of that name"),
    ],
)
async def test_a_database_of_another_application_is_refused_and_left_as_it_is(
    tmp_path: Path, statements: list[str]
) -> None:
    path = tmp_path / "a.db"
    run_sql(path, *statements)
    before = path.read_bytes()
    assert f"'{path}' is a database of another application" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await open_and_put(tmp_path / "a.db")
    run_sql(tmp_path / "a.db", "PRAGMA user_version = 99")
    assert "newer version" in await refusal(tmp_path / "a.db")


async def test_a_path_that_cannot_be_opened_names_the_setting(tmp_path: Path) -> None:
    assert "WEBHOOKS_DATABASE" in await refusal(tmp_path / "missing" / "a.db")


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"something else entirely, and longer than a header of SQLite" * 100)
    before = path.read_bytes()
    assert "WEBHOOKS_DATABASE" in await refusal(path)
    assert path.read_bytes() == before


def test_a_backup_copied_over_a_file_whose_wal_was_left_is_refused_until_the_wal_is_removed(
    tmp_path: Path, anyio_backend: str
) -> None:
    path, backup = tmp_path / "a.db", tmp_path / "backup.db"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", FILL_AND_DIE, str(path), str(backup)], env=environment, timeout=50)
    shutil.copyfile(backup, path)

    async def open() -> int:
        async with (database := Database(str(path))).lifespan():
            return await database.read(lambda c: int(c.execute("SELECT count(*) FROM event").fetchone()[0]))

    with pytest.raises(BackendUnavailable, match=f"was replaced.*remove '{path}-wal'"):
        anyio.run(open, backend=anyio_backend)
    assert path.read_bytes() == backup.read_bytes(), "the copy is left as it is"
    Path(f"{path}-wal").unlink()
    Path(f"{path}-shm").unlink(missing_ok=True)
    assert anyio.run(open, backend=anyio_backend) == 3001


async def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await open_and_put(path)
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)
    assert "Restore a backup." in await refusal(path)
    with pytest.raises(BackendUnavailable, match="damaged"), opened_alone(str(path)):
        raise AssertionError("it was opened")


async def test_a_large_file_is_checked_as_far_as_the_time_allows(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with (database := Database(str(path))).lifespan():
        await database.write(
            lambda c: (
                c.executemany(
                    "INSERT INTO meta VALUES (?, ?)", ((f"n{n}", b"x" * 200) for n in range(200_000))
                ).rowcount
            )
        )
    async with (database := Database(str(path), check_seconds=0.001)).lifespan():
        assert await database.read(count) == 200_000


async def test_a_file_that_is_no_database_is_not_left_open(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(b"This is no database. " * 100)
    with pytest.raises(BackendUnavailable) as info:
        await open_and_put(path)
    assert "not a database" in str(info.value)
    with pytest.raises(BackendUnavailable) as info_alone, opened_alone(str(path)):
        pass
    assert "not a database" in str(info_alone.value)
    # The errors still refer to what was open.
    assert str(path) not in [one.path for one in psutil.Process().open_files()]
