"""`starlette-webhooks adopt-outbox`: after a move between backends, the events of an outbox go to the new one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from starlette_webhooks import Webhooks
from starlette_webhooks.cli import main
from starlette_webhooks.events import EventQuery
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.settings import WebhooksSettings
from tests.audit_log import audit_entries
from tests.eventually import eventually

APP = """
from starlette_webhooks import Webhooks
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.settings import WebhooksSettings

settings = WebhooksSettings(database={database!r}, handle_signals=False)
webhooks = Webhooks(event_types=["order.created"], settings=settings, outbox=Outbox({host!r}))
without = Webhooks(event_types=["order.created"], settings=settings)
"""


@pytest.fixture
def anyio_backend() -> str:
    """The command runs on an event loop of its own, and relays are tested on both elsewhere."""
    return "asyncio"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    Outbox(engine).metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with the app that uses the new backend."""
    name = f"moved_{tmp_path.name.replace('-', '_')}"
    host = f"sqlite:///{tmp_path / 'host.db'}"
    (tmp_path / f"{name}.py").write_text(APP.format(database=str(tmp_path / "new.db"), host=host))
    monkeypatch.chdir(tmp_path)
    return name


def webhooks_with(path: Path, engine: Engine) -> Webhooks:
    settings = WebhooksSettings(database=str(path), handle_signals=False)
    return Webhooks(event_types=["order.created"], settings=settings, outbox=Outbox(engine))


def commit(webhooks: Webhooks, engine: Engine) -> str:
    with Session(engine) as session, session.begin():
        return webhooks.emitter("acme").emit("order.created", {}, within=session).event.id


async def arrived(webhooks: Webhooks, *ids: str) -> None:
    async def there() -> bool:
        page = await webhooks.backend.list_events("acme", EventQuery())
        return [event.id for event in reversed(page.items)] == list(ids)

    await eventually(there)


async def test_events_that_wait_go_to_the_new_backend(
    engine: Engine, app: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    adopt = ["--app", f"{app}:webhooks", "adopt-outbox"]
    old, new = webhooks_with(tmp_path / "old.db", engine), webhooks_with(tmp_path / "new.db", engine)
    async with old.lifespan():
        await arrived(old, commit(old, engine))
    async with new.lifespan():
        waits = commit(new, engine)
        await eventually(lambda: "adopt-outbox" in str(new.health().get("hostOutbox")))
        with audit_entries(caplog) as entries:
            assert await to_thread.run_sync(main, adopt) == 0, capsys.readouterr().err
            await arrived(new, waits)
            assert await to_thread.run_sync(main, adopt) == 0
        said = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" ")[2] for line in said] == ["now.", "already."]
    assert [(entry["action"], str(tmp_path / "host.db") in entry["database"]) for entry in entries] == [
        ("outbox.adopted", True)
    ]


def test_an_app_without_an_outbox_of_its_own_has_nothing_to_adopt(
    app: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def start() -> None:
        async with Webhooks(settings=WebhooksSettings(database=str(tmp_path / "new.db"))).lifespan():
            """Creates the file."""

    anyio.run(start)
    assert main(["--app", f"{app}:without", "adopt-outbox"]) == 2
    assert "no outbox" in capsys.readouterr().err
