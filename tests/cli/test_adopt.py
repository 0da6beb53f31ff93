"""`starlette-webhooks adopt`: what the operator is told, and how it refuses."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from starlette_webhooks.cli import main
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.stores.contract import add, emit


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the database of production, with an endpoint and a pending delivery."""
    path = tmp_path / "webhooks.db"
    monkeypatch.setenv("WEBHOOKS_DATABASE", str(path))

    async def fill() -> None:
        store = SQLiteStore(str(path), environment="production")
        async with store.lifespan():
            await add(store)
            await emit(store)

    anyio.run(fill)
    return path


def test_it_tells_what_was_dropped_and_to_whom_the_copy_belongs(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adopt", "--environment", "staging"]) == 0
    assert capsys.readouterr().out == (
        f"{copy} belongs to 'staging' now; before, to 'production'. Disabled 1 endpoint, dropped 1 delivery.\n"
    )
    monkeypatch.setenv("WEBHOOKS_ENVIRONMENT", "test")
    assert main(["adopt", "--keep"]) == 0
    assert capsys.readouterr().out == f"{copy} belongs to 'test' now; before, to 'staging'.\n"
    monkeypatch.delenv("WEBHOOKS_ENVIRONMENT")
    assert main(["adopt"]) == 0
    assert capsys.readouterr().out.startswith(f"{copy} belongs to no environment now; before, to 'test'.")


def test_programs_read_it_as_json(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adopt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "environment": None,
        "before": "production",
        "endpoints": 1,
        "deliveries": 1,
    }


def test_a_copy_in_use_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(copy, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM event").fetchone()
        assert main(["adopt", "--environment", "staging"]) == 1
    assert "Another process has the database" in capsys.readouterr().err
