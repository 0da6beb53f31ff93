"""`starlette-webhooks encrypt`."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.cli import main
from starlette_webhooks.event_types import EventTypes
from tests.backends.contract.support import KEY, create
from tests.settings import make_settings

NEW, OTHER = "n" * 32, "o" * 32


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file with an endpoint, whose secret is not encrypted."""
    for name in ("WEBHOOKS_DATABASE", "WEBHOOKS_ENCRYPTION_KEY"):
        monkeypatch.delenv(name, raising=False)

    async def fill() -> None:
        backend = SQLiteBackend(make_settings(tmp_path))
        async with backend.lifespan(EventTypes()):
            await create(backend, secret=KEY)

    anyio.run(fill)
    return str(tmp_path / "webhooks.db")


def test_secrets_are_encrypted_once(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert KEY.encode() in Path(database).read_bytes()
    monkeypatch.setenv("WEBHOOKS_ENCRYPTION_KEY", NEW)
    for endpoints in (1, 0):
        assert main(["--database", database, "encrypt", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"endpoints": endpoints}
    assert KEY.encode() not in Path(database).read_bytes()
    monkeypatch.setenv("WEBHOOKS_ENCRYPTION_KEY", OTHER)
    assert main(["--database", database, "encrypt"]) == 1
    assert "WEBHOOKS_ENCRYPTION_KEY" in capsys.readouterr().err


def test_without_a_key_or_a_database_the_usage_is_told(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--database", database, "encrypt"]) == 2
    assert "Set `WEBHOOKS_ENCRYPTION_KEY`" in capsys.readouterr().err
    monkeypatch.setenv("WEBHOOKS_ENCRYPTION_KEY", NEW)
    assert main(["--database", str(tmp_path / "other.db"), "encrypt"]) == 2
    assert "There is no database" in capsys.readouterr().err
    assert not (tmp_path / "other.db").exists()
