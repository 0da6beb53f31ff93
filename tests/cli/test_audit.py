"""The audit log of the command: what it changes or discloses, and who ran it."""

from __future__ import annotations

import getpass
import json
import logging
from pathlib import Path

import anyio
import pytest

from starlette_webhooks.cli import main
from starlette_webhooks.cli.auditing import command_actor
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.audit_log import audit_entries
from tests.stores.contract import add, claim, emit, record

WHO = {"via": "command", "subject": getpass.getuser(), "address": ""}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An endpoint with an exhausted delivery."""
    path = str(tmp_path / "webhooks.db")
    monkeypatch.setenv("WEBHOOKS_DATABASE", path)
    monkeypatch.setenv("WEBHOOKS_ENCRYPTION_KEY", "n" * 32)

    async def fill() -> dict[str, str]:
        store = SQLiteStore(path)
        async with store.lifespan():
            endpoint, event = await add(store), await emit(store)
            for delivery in (await claim(store)).deliveries:
                await record(store, delivery, 503)
            return {"endpoint": endpoint.id, "event": event.id}

    return anyio.run(fill)


def test_each_change_and_each_look_at_a_payload_has_an_entry(
    made: dict[str, str], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = made["endpoint"]
    with audit_entries(caplog) as entries:
        for arguments in (
            ["events", made["event"]],
            ["retry", "--tenant", "acme", "--status", "5xx", "--after", "2026-01-01T00:00:00Z", "--yes"],
            ["disable", endpoint],
            ["enable", endpoint],
            ["encrypt"],
            ["prune"],
            ["erase", "acme", "--yes"],
        ):
            assert main(arguments) == 0, capsys.readouterr().err
    changed = {"endpoint": endpoint, "origin": "https://example.com:443", "fields": ["disabled"]}
    filters = {"state": "exhausted,failing", "answer": "5", "after": "2026-01-01T00:00:00.000Z"}
    assert entries == [
        {"action": "payload.read", "tenant": "acme", **WHO, "event": made["event"]},
        {"action": "deliveries.retried", "tenant": "acme", **WHO, **filters},
        {"action": "endpoint.changed", "tenant": "acme", **WHO, **changed},
        {"action": "endpoint.changed", "tenant": "acme", **WHO, **changed},
        {"action": "secrets.encrypted", "tenant": "", **WHO, "count": "1"},
        {"action": "events.pruned", "tenant": "", **WHO, "days": "30"},
        {"action": "tenant.erased", "tenant": "acme", **WHO},
    ]


def test_what_concerns_a_whole_database_has_an_entry(
    made: dict[str, str],
    tmp_path: Path,
    postgresql_url: str,
    postgresql_schema: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, copy = str(tmp_path / "webhooks.db"), str(tmp_path / "copy.db")

    def run(*commands: list[str]) -> None:
        for arguments in commands:
            assert main(arguments) == 0, capsys.readouterr().err

    with audit_entries(caplog) as entries:
        # Nothing is migrated.
        run(["migrate"], ["backup", copy], ["restore", copy, "--yes"], ["adopt", "--environment", "staging"])
        monkeypatch.setenv("WEBHOOKS_DATABASE", postgresql_url)
        monkeypatch.setenv("WEBHOOKS_DATABASE_SCHEMA", postgresql_schema)
        run(["migrate", "--grant", "pg_monitor"], ["move", "--from", file], ["move", "--from", file])
    where = {str(entry.pop("database")) for entry in entries[-3:]}
    assert len(where) == 1
    assert f"(schema {postgresql_schema})" in where.pop()
    version = entries[3].pop("version")
    assert version.isdecimal()
    common = {"tenant": "", **WHO}
    assert entries == [
        {"action": "database.backed_up", **common, "database": file, "file": copy},
        {"action": "database.restored", **common, "database": file, "file": copy},
        {"action": "database.adopted", **common, "database": file, "environment": "staging", "previous": ""},
        {"action": "database.migrated", **common},
        {"action": "database.granted", **common, "role": "pg_monitor"},
        {"action": "database.moved", **common, "file": file},
    ]


def test_what_only_looks_or_fails_has_none(
    made: dict[str, str], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with audit_entries(caplog) as entries:
        for arguments in (
            ["status"],
            ["events"],
            ["endpoints"],
            ["undelivered"],
            ["retry", "--tenant", "other", "--yes"],
        ):
            assert main(arguments) == 0
        for arguments in (["disable", "ep_" + "0" * 27], ["events", "msg_" + "0" * 27]):
            assert main(arguments) == 1
    assert entries == []


def test_entries_are_appended_to_a_file(
    made: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit.log"
    before = list(logging.getLogger("starlette_webhooks.audit").handlers)
    assert main(["--audit-log", str(file), "disable", made["endpoint"]]) == 0
    monkeypatch.setenv("WEBHOOKS_AUDIT_LOG", str(file))
    assert main(["enable", made["endpoint"]]) == 0
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(entry["action"], entry["via"]) for entry in entries] == [("endpoint.changed", "command")] * 2
    assert logging.getLogger("starlette_webhooks.audit").handlers == before


def test_without_a_place_for_its_entries_it_changes_nothing(
    made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--audit-log", str(tmp_path / "none" / "audit.log"), "erase", "acme", "--yes"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert main(["events", made["event"]]) == 0


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert command_actor().subject.isdecimal()
