"""The command in general: options, exit statuses and messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from starlette_webhooks.cli import main
from tests.cli.running import run


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEBHOOKS_DATABASE", raising=False)


def test_help_of_the_command_and_of_each_subcommand_works_without_a_database(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for name in ("migrate", "move", "adopt"):
        assert name in said
        assert main([name, "--help"]) == 0
        assert f"starlette-webhooks {name}" in capsys.readouterr().out


def test_without_a_database_the_usage_is_printed_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "`--database PATH_OR_URL`, or `WEBHOOKS_DATABASE`" in said.err


@pytest.mark.parametrize("database", ["mysql://host/name", ":memory:"])
def test_an_unsupported_database_is_a_usage_error(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--database", database, "migrate"]) == 2
    assert "Error: " in capsys.readouterr().err


def test_a_file_is_migrated_and_the_second_time_nothing_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = str(tmp_path / "webhooks.db")
    assert main(["--database", database, "migrate"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{database} has schema ")
    assert "is in place" in said.err
    assert main(["--database", database, "migrate", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["applied"] == []
    assert said.err == ""


def test_a_failure_ends_with_status_1_and_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = str(tmp_path / "missing" / "webhooks.db")
    assert main(["--database", database, "migrate"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Error: ")
    assert main(["--database", database, "migrate", "--json"]) == 1
    assert "cannot be opened" in json.loads(capsys.readouterr().err)["detail"]


def test_the_command_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    status, output, _ = run("migrate", "--json", WEBHOOKS_DATABASE=str(tmp_path / "webhooks.db"))
    assert status == 0
    assert json.loads(output)["version"] >= 3


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['click'] = None; from starlette_webhooks.cli import main; sys.exit(main(['migrate']))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == "The command requires more packages. Install the package with the extra `cli`.\n"


def test_passwords_are_never_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--database", "postgresql://me:secret@127.0.0.1:1/name", "migrate"]) == 1
    said = capsys.readouterr()
    assert "127.0.0.1:1/name cannot be reached" in said.err
    assert "secret" not in said.out + said.err


def test_a_schema_is_migrated_and_granted(
    postgresql_url: str, postgresql_schema: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEBHOOKS_DATABASE_SCHEMA", postgresql_schema)
    assert main(["--database", postgresql_url, "migrate", "--grant", "pg_monitor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["applied"] == list(range(1, found["version"] + 1))
    assert found["granted"] == ["pg_monitor"]
