"""Usage that the command refuses, and files and servers that it cannot work on."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import anyio
import psycopg
import pytest

from starlette_webhooks.cli import main
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.disks import filled, small_disk
from tests.holding import holding_file_lock
from tests.stores.contract import emit


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The database of an app that has stopped."""
    path = tmp_path / "webhooks.db"
    create(path)
    monkeypatch.setenv("WEBHOOKS_DATABASE", str(path))
    return path


def create(path: Path) -> None:
    """Create a database with an event."""

    async def fill() -> None:
        async with SQLiteStore(str(path)).lifespan():
            pass
        store = SQLiteStore(str(path))
        async with store.lifespan():
            await emit(store)

    anyio.run(fill)


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The texts of the problems that `check` finds, by subject."""
    capsys.readouterr()
    main(["check", "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    return {one["subject"]: one["text"] for one in found if one["level"] == "problem"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--database", ":memory:", "status"], "A database in memory belongs to its process"),
        (["--database", "webhooks.db", "move", "--from", "other.db"], "names the PostgreSQL database"),
        (["trigger", "https://example.com", "a", "--key", "k", "--data", "[1]"], "It must be a JSON object"),
    ],
)
def test_wrong_usage_is_explained(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_state_that_cannot_be_written_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    state = tmp_path / "file" / "state.json"
    url = "http://127.0.0.1:1"
    assert main(["listen", url, "--key", "acme", "--forward-to", url, "--state", str(state)]) == 1
    assert f"{state} cannot be used" in capsys.readouterr().err


def test_a_role_cannot_be_granted_access_to_a_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--grant", "app"]) == 1
    assert "A SQLite file has no roles" in capsys.readouterr().err


def test_a_file_is_not_migrated_while_a_process_writes(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOKS_DATABASE_TIMEOUT", "0.1")
    with holding_file_lock(file) as pid:
        assert main(["migrate"]) == 1
    said = capsys.readouterr().err
    assert "holds the lock of the database" in said
    assert str(pid) in said


def test_a_database_without_its_tables_cannot_be_migrated(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA user_version = 1")
    assert main(["migrate"]) == 1
    assert "cannot be migrated" in capsys.readouterr().err


def test_a_copy_is_not_restored_into_a_directory_that_does_not_exist(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.db"
    assert main(["backup", str(copy)]) == 0
    assert main(["--database", str(tmp_path / "none" / "webhooks.db"), "restore", str(copy), "--yes"]) == 1
    assert "cannot be restored: No such file or directory" in capsys.readouterr().err


def test_on_a_full_disk_nothing_is_copied_or_restored(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.db"
    assert main(["backup", str(copy)]) == 0
    with small_disk(tmp_path / "small") as disk:
        create(disk / "webhooks.db")
        with filled(disk):
            assert main(["backup", str(disk / "copy.db")]) == 1
            assert "cannot be made: database or disk is full" in capsys.readouterr().err
            assert not (disk / "copy.db").exists()
            assert main(["--database", str(disk / "new.db"), "restore", str(copy), "--yes"]) == 1
            assert "cannot be opened: database or disk is full" in capsys.readouterr().err


def test_a_copy_that_the_disk_has_no_room_for_is_not_restored(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("INSERT INTO meta (name, value) VALUES ('filler', zeroblob(12000000))")
    copy = tmp_path / "copy.db"
    assert main(["backup", str(copy)]) == 0
    with small_disk(tmp_path / "small") as disk:
        assert main(["--database", str(disk / "new.db"), "restore", str(copy), "--yes"]) == 1
        assert "cannot be restored: database or disk is full" in capsys.readouterr().err


def test_a_read_only_disk_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "small") as disk:
        monkeypatch.setenv("WEBHOOKS_DATABASE", str(disk / "webhooks.db"))
        create(disk / "webhooks.db")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        found = findings(capsys)
    assert "This user cannot write to the directory" in found["directory"]
    assert "This user cannot read and write" in found["mode"]


def test_a_large_wal_is_a_problem(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wal = file.with_name("webhooks.db-wal")
    wal.touch(0o600)
    os.truncate(wal, 300 * 1024 * 1024)
    assert "300.0 MiB. A program that keeps a transaction open" in findings(capsys)["wal"]


def test_what_a_role_of_postgresql_changes_for_the_worse_is_found(
    postgresql_url: str, migrated_schema: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {
        "default_transaction_isolation": "serializable",
        "default_transaction_read_only": "on",
        "synchronous_commit": "off",
    }
    options = quote(" ".join(f"-c {name}={value}" for name, value in changes.items()))
    monkeypatch.setenv("WEBHOOKS_DATABASE", f"{postgresql_url}?options={options}")
    monkeypatch.setenv("WEBHOOKS_DATABASE_SCHEMA", migrated_schema)
    assert main(["check"]) == 3
    said = capsys.readouterr().out
    assert "Transactions of this role are SERIALIZABLE by default" in said
    assert "The server is read-only" in said
    assert "`synchronous_commit` is `off`" in said


def test_a_transaction_that_has_been_open_for_long_is_a_problem(
    postgresql_url: str, postgresql_schema: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        # In place of the server's own view, as there is no transaction of that age.
        connection.execute(f"CREATE SCHEMA {postgresql_schema}")
        connection.execute(
            f"CREATE VIEW {postgresql_schema}.pg_stat_activity AS SELECT current_database() AS datname, "
            "'client backend' AS backend_type, 0 AS pid, clock_timestamp() - interval '20 min' AS xact_start"
        )
    options = quote(f"-c search_path={postgresql_schema},pg_catalog")
    monkeypatch.setenv("WEBHOOKS_DATABASE", f"{postgresql_url}?options={options}")
    assert "A transaction has been open for 20 min" in findings(capsys)["transactions"]


def test_a_key_in_the_settings_is_told(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEBHOOKS_SECRET_KEY", "k" * 32)
    monkeypatch.setenv("WEBHOOKS_ENCRYPTION_KEY", "e" * 32)
    monkeypatch.setenv("WEBHOOKS_ENVIRONMENT", "production")
    main(["check"])
    said = capsys.readouterr().out
    assert "`WEBHOOKS_SECRET_KEY` is set." in said
    assert "ENCRYPTION_KEY" not in said
    assert "WEBHOOKS_ENVIRONMENT" not in said
