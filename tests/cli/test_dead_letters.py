"""`dead-letters`: of the backend's own outbox, and of the outbox in the database of an app."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest
from sqlalchemy import create_engine, text

from starlette_webhooks import Webhooks
from starlette_webhooks.cli import main
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from tests.audit_log import audit_entries
from tests.eventually import eventually

Command: TypeAlias = Callable[..., tuple[int, Any]]

APP = """
from sqlalchemy import create_engine
from starlette_webhooks import Webhooks, WebhooksSettings
from starlette_webhooks.outbox import Outbox

outbox = Outbox(create_engine({url!r}))
webhooks = Webhooks(settings=WebhooksSettings(database={database!r}, svix_api_key=None), outbox=outbox)
"""


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a subcommand of `dead-letters` in this process. Returns its status and its JSON."""

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        options = arguments[: arguments.index("dead-letters")]
        status = main([*options, *arguments[len(options) :], "--json"])
        said = capsys.readouterr()
        return status, json.loads(said.out or said.err)

    return run


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Webhooks:
    """An app with an outbox of its own, in which rows wait that nothing can read."""
    url = f"sqlite:///{tmp_path / 'host.db'}"
    (tmp_path / "dead_letter_host.py").write_text(APP.format(url=url, database=str(tmp_path / "webhooks.db")))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "dead_letter_host", raising=False)
    from dead_letter_host import webhooks  # type: ignore[import-not-found]

    engine = create_engine(url)
    webhooks.outbox.metadata.create_all(engine)
    with engine.begin() as connection:
        for tenant in ("acme", "globex"):
            values = {"id": f"{tenant}-1", "tenant": tenant, "body": b"\x00"}
            connection.execute(
                text("INSERT INTO webhooks_outbox (id, tenant, body) VALUES (:id, :tenant, :body)"), values
            )
    engine.dispose()
    found: Webhooks = webhooks
    return found


async def bury(webhooks: Webhooks) -> None:
    """Let the app dead-letter what it cannot read."""

    async def are_dead() -> bool:
        return len(await webhooks.dead_letters()) == 2

    async with webhooks.lifespan():
        await eventually(are_dead)


def test_those_of_an_app_are_listed_redriven_and_discarded(
    app: Webhooks, command: Command, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    anyio.run(bury, app)
    base = ("--app", "dead_letter_host:webhooks", "dead-letters")
    status, found = command(*base, "list")
    assert status == 0
    assert [(one["tenant"], one["id"], one["code"]) for one in found["deadLetters"]] == [
        ("acme", "acme-1", "invalid"),
        ("globex", "globex-1", "invalid"),
    ]
    assert [one["id"] for one in command(*base, "list", "--tenant", "globex")[1]["deadLetters"]] == ["globex-1"]
    assert main([*base, "list"]) == 0
    assert "acme-1" in capsys.readouterr().out
    with audit_entries(caplog) as entries:
        assert command(*base, "redrive", "--tenant", "acme") == (0, {"redriven": 1})
        assert command(*base, "discard", "globex-1", "acme-1", "--yes") == (0, {"discarded": 1})
    assert [(entry["action"], entry["tenant"], entry["via"]) for entry in entries] == [
        ("dead_letters.redriven", "acme", "command"),
        ("dead_letters.discarded", "globex", "command"),
    ]
    assert entries[1]["ids"] == ["globex-1"]
    assert command(*base, "list")[1]["deadLetters"] == []


def test_redriving_needs_a_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--database", str(tmp_path / "webhooks.db"), "dead-letters", "redrive"]) == 2
    assert "`--tenant` or `--all`" in capsys.readouterr().err


def test_those_in_the_database_of_the_backend_are_listed(
    postgresql_url: str, postgresql_schema: str, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setenv("WEBHOOKS_DATABASE", postgresql_url)
    monkeypatch.setenv("WEBHOOKS_DATABASE_SCHEMA", postgresql_schema)

    async def prepare() -> None:
        async with PostgreSQLStore(postgresql_url, schema=postgresql_schema).lifespan():
            pass

    anyio.run(prepare)
    engine = create_engine(postgresql_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO {postgresql_schema}.outbox_dead_letter (id, tenant, body, code, detail) "
                "VALUES ('row-1', 'acme', '\\x00', 'invalid', 'It cannot be read.')"
            )
        )
    engine.dispose()
    (found,) = command("dead-letters", "list")[1]["deadLetters"]
    assert (found["id"], found["detail"]) == ("row-1", "It cannot be read.")
    assert command("dead-letters", "discard", "row-1", "--yes") == (0, {"discarded": 1})
