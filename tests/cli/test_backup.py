"""`starlette-webhooks backup`, `restore` and `check`."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from starlette_webhooks.cli import main
from starlette_webhooks.stores.findings import check_clock, check_free_space, check_transactions
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.stores.contract import add, emit, ids

Command: TypeAlias = Callable[..., tuple[int, Any]]


@pytest.fixture
def anyio_backend() -> str:
    """The command runs on an event loop of its own, and the store is tested on both elsewhere."""
    return "asyncio"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The database of the app."""
    path = tmp_path / "webhooks.db"
    monkeypatch.setenv("WEBHOOKS_DATABASE", str(path))
    return path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a subcommand in a thread, as a process of its own would. Returns its status and its JSON."""

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        status = main([*arguments, "--json"])
        said = capsys.readouterr()
        return status, json.loads(said.out or said.err)

    return run


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files_beside(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.glob(f"{path.name}*"))


def remove(path: Path) -> None:
    for name in files_beside(path):
        path.with_name(name).unlink()


def content(path: Path) -> bytes:
    return path.read_bytes()


def overwrite(path: Path, start: int) -> None:
    """Damage two pages of a file."""
    whole = path.read_bytes()
    path.write_bytes(whole[:start] + b"\xff" * 8192 + whole[start + 8192 :])


async def test_a_running_app_is_backed_up_and_restored_once_it_has_stopped(
    file: Path, tmp_path: Path, command: Command
) -> None:
    copy = tmp_path / "copy.db"
    async with SQLiteStore(str(file)).lifespan():
        pass
    store = SQLiteStore(str(file))
    async with store.lifespan():
        await add(store)
        before = await emit(store)
        status, made = await anyio.to_thread.run_sync(lambda: command("backup", str(copy)))
        assert (status, made["bytes"]) == (0, len(content(copy)))
        assert mode_of(copy) == 0o600
        assert files_beside(copy) == ["copy.db"]
        after = await emit(store)
        assert set(await ids(store)) == {before.id, after.id}
        status, said = await anyio.to_thread.run_sync(lambda: command("restore", str(copy), "--yes"))
        assert status == 1
        assert "Stop all processes" in said["detail"]
    assert command("restore", str(copy), "--yes")[0] == 0
    store = SQLiteStore(str(file))
    async with store.lifespan():
        assert await ids(store) == [before.id]
        await emit(store)


async def test_a_copy_is_restored_where_there_is_nothing(
    file: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SQLiteStore(str(file)).lifespan():
        pass
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEBHOOKS_DATABASE", file.name)
    copy = Path("copy.db")
    assert command("backup", str(copy))[0] == 0
    remove(file)
    assert command("restore", str(copy))[0] == 0
    assert mode_of(file) == 0o600
    async with SQLiteStore(str(file)).lifespan():
        pass


async def test_a_backup_replaces_no_file_and_a_restore_accepts_only_a_backup(
    file: Path, tmp_path: Path, command: Command
) -> None:
    async with SQLiteStore(str(file)).lifespan():
        pass
    before = content(file)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE other (id)")
    status, said = command("backup", str(other))
    assert (status, "exists" in said["detail"]) == (1, True)
    status, said = command("restore", str(other), "--yes")
    assert (status, "another application" in said["detail"]) == (1, True)
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(before[:4096] + b"\xff" * 8192 + before[12288:])
    status, said = command("restore", str(damaged), "--yes")
    assert (status, "damaged" in said["detail"]) == (1, True)
    status, said = command("backup", str(tmp_path / "missing" / "copy.db"))
    assert (status, "cannot be made" in said["detail"]) == (1, True)
    assert content(file) == before
    shutil.copyfile(damaged, file)
    status, said = command("backup", str(tmp_path / "copy.db"))
    assert (status, "damaged" in said["detail"]) == (1, True)
    assert files_beside(tmp_path / "copy.db") == []


@pytest.mark.parametrize("damaged", [0, 4096])
async def test_a_copy_is_restored_once_the_damaged_database_was_moved_away(
    file: Path, tmp_path: Path, command: Command, damaged: int
) -> None:
    store = SQLiteStore(str(file))
    async with store.lifespan():
        before = await emit(store)
    copy = tmp_path / "copy.db"
    assert command("backup", str(copy))[0] == 0
    overwrite(file, damaged)
    status, said = command("restore", str(copy), "--yes")
    assert status == 1
    assert f"Move it away, and '{file}-wal'" in said["detail"]
    remove(file)
    assert command("restore", str(copy))[0] == 0
    store = SQLiteStore(str(file))
    async with store.lifespan():
        assert await ids(store) == [before.id]


def test_postgresql_is_backed_up_by_its_own_tools(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEBHOOKS_DATABASE", postgresql_url)
    assert main(["backup", str(tmp_path / "copy.db")]) == 2
    assert "use its own tools" in capsys.readouterr().err


# Checking


def levels(found: Any) -> dict[str, str]:
    order = ("ok", "note", "problem")
    worst: dict[str, str] = {}
    for one in found["findings"]:
        worst[one["subject"]] = max(worst.get(one["subject"], "ok"), one["level"], key=order.index)
    return worst


async def test_a_sound_file_has_no_problems(file: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    async with SQLiteStore(str(file)).lifespan():
        status, found = await anyio.to_thread.run_sync(lambda: command("check"))
    assert levels(found)["schema"] == levels(found)["mode"] == "ok"
    assert status in (0, 3)  # The disk of the machine may be nearly full.
    assert [name for name, level in levels(found).items() if level == "problem" and name != "disk"] == []


async def test_what_is_wrong_with_a_file_is_found_with_status_3(
    file: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("check")[0] == 3
    async with SQLiteStore(str(file)).lifespan():
        pass
    os.chmod(file, 0o644)
    status, found = command("check")
    assert (status, levels(found)["mode"]) == (3, "problem")
    assert main(["check"]) == 3
    assert "PROBLEM mode" in capsys.readouterr().out
    os.chmod(file, 0o600)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA application_id = 7")
    assert levels(command("check")[1])["database"] == "problem"


def test_a_schema_is_checked(
    postgresql_url: str, postgresql_schema: str, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setenv("WEBHOOKS_DATABASE", postgresql_url)
    monkeypatch.setenv("WEBHOOKS_DATABASE_SCHEMA", postgresql_schema)
    status, found = command("check")
    assert (status, levels(found)["schema"]) == (3, "problem")
    assert command("migrate")[0] == 0
    status, found = command("check")
    assert (levels(found)["schema"], levels(found)["pooler"], levels(found)["clock"]) == ("ok", "ok", "ok")
    assert status == 0


def test_a_pooler_is_found(
    pgbouncer_url: str, postgresql_schema: str, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setenv("WEBHOOKS_DATABASE", pgbouncer_url)
    monkeypatch.setenv("WEBHOOKS_DATABASE_SCHEMA", postgresql_schema)
    assert levels(command("check")[1])["pooler"] == "note"


def test_a_server_that_is_away_is_a_problem(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setenv("WEBHOOKS_DATABASE", "postgresql://me:secret@127.0.0.1:1/name")
    status, found = command("check")
    assert (status, levels(found)["server"]) == (3, "problem")
    assert "secret@" not in json.dumps(found)


def test_a_clock_may_differ_by_a_second() -> None:
    assert check_clock(1000.0, now=lambda: 1000.5).level == "ok"
    assert "3.0 s behind" in check_clock(1003.0, now=lambda: 1000.0).text
    assert "3.0 s ahead of" in check_clock(997.0, now=lambda: 1000.0).text


def test_a_transaction_may_be_open_for_ten_minutes() -> None:
    assert [*check_transactions(None), *check_transactions(600.0)] == []
    (found,) = check_transactions(7200.0)
    assert (found.level, "for 120 min" in found.text) == ("problem", True)


def test_a_disk_needs_as_much_room_as_the_file_has(tmp_path: Path) -> None:
    assert check_free_space(str(tmp_path / "webhooks.db"), 10**18).level == "problem"
