"""The subcommands for operators: what they print, what they change, and how they exit."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from starlette_webhooks.cli import main
from starlette_webhooks.cli.output import counted, duration
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.stores.base import Store
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.backends.svix.fake_server import FakeSvix
from tests.stores.contract import add, claim, emit, record

Command: TypeAlias = Callable[..., tuple[int, Any]]


@pytest.fixture(params=["sqlite", "postgresql"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Store]:
    """Makes the store that the command works on."""
    if request.param == "sqlite":
        path = str(tmp_path / "webhooks.db")
        monkeypatch.setenv("WEBHOOKS_DATABASE", path)
        return lambda: SQLiteStore(path)
    url: str = request.getfixturevalue("postgresql_url")
    schema: str = request.getfixturevalue("migrated_schema")
    monkeypatch.setenv("WEBHOOKS_DATABASE", url)
    monkeypatch.setenv("WEBHOOKS_DATABASE_SCHEMA", schema)
    return lambda: PostgreSQLStore(url, schema=schema)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a subcommand in this process. Returns its status and its JSON."""

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        status = main([*arguments, "--json"])
        said = capsys.readouterr()
        return status, json.loads(said.out or said.err)

    return run


@pytest.fixture
def made(make_store: Callable[[], Store]) -> dict[str, str]:
    """A failing endpoint of a tenant with an exhausted and a failing delivery, and a disabled one of another."""

    async def fill() -> dict[str, str]:
        store = make_store()
        async with store.lifespan():
            failing, disabled = await add(store), await add(store, "globex")
            for due in (None, store.now() + 3_600_000):
                sent = await emit(store)
                for delivery in (await claim(store)).deliveries:
                    await record(store, delivery, 503, next_due=due)
            await emit(store, "globex")
            await store.update_endpoint("globex", disabled.id, EndpointChanges(disabled=True))
            return {"failing": failing.id, "disabled": disabled.id, "event": sent.id}

    return anyio.run(fill)


def test_status_tells_the_figures(made: dict[str, str], command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = command("status")
    assert status == 0
    names = ("waiting", "failing", "exhausted", "held", "endpoints", "endpointsFailing", "endpointsDisabled")
    assert [found[name] for name in names] == [1, 1, 1, 1, 2, 1, 1]
    assert main(["status"]) == 0
    said = capsys.readouterr().out
    assert "waiting     1 delivery, of which 1 failed and will be retried\n" in said
    assert "endpoints   2, 1 failing, 1 disabled\n" in said


def test_endpoints_are_listed_and_switched(
    made: dict[str, str], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = command("endpoints", "--state", "failing")
    assert [(one["id"], one["tenant"], one["statusCode"]) for one in found["endpoints"]] == [
        (made["failing"], "acme", 503)
    ]
    assert main(["endpoints", "--limit", "1"]) == 0
    said = capsys.readouterr()
    assert made["disabled"] in said.out
    assert f"--cursor {made['disabled']}" in said.err
    status, found = command("enable", made["disabled"])
    assert (status, found["disabled"]) == (0, False)
    assert command("disable", made["disabled"], "--tenant", "globex")[1]["disabledReason"] == "manual"
    assert command("disable", "ep_" + "0" * 27) == (
        1,
        {"code": "failed", "detail": f"There is no endpoint ep_{'0' * 27}."},
    )


def test_events_are_listed_and_shown(
    made: dict[str, str], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = command("events")
    assert [one["tenant"] for one in found["events"]] == ["globex", "acme", "acme"]
    assert len(command("events", "--tenant", "acme")[1]["events"]) == 2
    status, shown = command("events", made["event"])
    assert (status, shown["tenant"], shown["payload"]["data"]) == (0, "acme", {"amount": 9900})
    assert command("events", made["event"], "--tenant", "globex")[0] == 1
    assert main(["events", made["event"]]) == 0
    assert '"amount": 9900' in capsys.readouterr().out


def test_what_is_undelivered_is_listed_counted_and_retried(
    made: dict[str, str], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = command("undelivered")
    assert [(one["tenant"], one["state"]) for one in found["undelivered"]] == [
        ("acme", "exhausted"),
        ("acme", "failing"),
        ("globex", "waiting"),
    ]
    assert command("undelivered", "--tenant", "acme", "--status", "5xx", "--count")[1] == {"count": 2, "exact": True}
    assert command("undelivered", "--state", "failing", "--limit", "1")[1]["done"] is True
    assert main(["undelivered", "--tenant", "acme"]) == 0
    assert "503" in capsys.readouterr().out
    assert main(["undelivered", "--after", "yesterday"]) == 2
    assert main(["retry", "--state", "waiting", "--yes"]) == 2
    assert main(["retry", "--json"]) == 2
    assert command("retry", "--tenant", "nobody", "--yes") == (0, {"queued": 0, "disabled": 0})
    assert command("retry", "--yes") == (0, {"queued": 2, "disabled": 0})
    states = [one["state"] for one in command("undelivered", "--tenant", "acme")[1]["undelivered"]]
    assert states == ["waiting", "waiting"]


def test_a_retry_asks_first(
    made: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for answer, status, queued in (("n\n", 130, False), ("y\n", 0, True)):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert main(["retry"]) == status
        said = capsys.readouterr()
        assert "Retry 2 deliveries?" in said.err
        assert ("2 deliveries are due now." in said.out) == queued


def test_erase_removes_a_tenant_and_prune_what_is_old(made: dict[str, str], command: Command) -> None:
    assert main(["erase", "acme", "--json"]) == 2
    assert command("erase", "acme", "--yes") == (0, {"erased": "acme"})
    assert [one["tenant"] for one in command("events")[1]["events"]] == ["globex"]
    assert command("prune") == (0, {"retentionDays": 30})


def test_a_file_that_does_not_exist_is_not_created(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.db"
    for subcommand in (["status"], ["erase", "acme", "--yes"], ["backup", str(tmp_path / "copy.db")]):
        assert main(["--database", str(path), *subcommand]) == 2
        assert "There is no database" in capsys.readouterr().err
    assert not path.exists()


# The app


APP = """
from starlette_webhooks import EventType, Webhooks
from starlette_webhooks.settings import WebhooksSettings

webhooks = Webhooks(event_types=[EventType("invoice.paid")], settings=WebhooksSettings(database={database!r}))
other = 1
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An app in a module of the current directory."""
    name = f"shop_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(APP.format(database=str(tmp_path / "webhooks.db")))
    monkeypatch.chdir(tmp_path)
    return name


def test_an_app_tells_its_settings_and_event_types(app: str, tmp_path: Path, command: Command) -> None:
    assert main(["--app", f"{app}:webhooks", "migrate"]) == 0
    assert command("--app", f"{app}:webhooks", "status")[1]["backend"] == "sqlite"
    assert command("--app", f"{app}:webhooks", "sync")[1]["unchanged"][2:3] == ["invoice.paid"]


@pytest.mark.parametrize(
    ("name", "why"),
    [("{app}:other", "is not a `Webhooks` object"), ("{app}:none", "cannot be imported"), ("nothing:here", "imported")],
)
def test_what_is_no_app_is_wrong_usage(app: str, name: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--app", name.format(app=app), "status"]) == 2
    assert why in capsys.readouterr().err


def test_sync_needs_an_app(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--database", str(tmp_path / "webhooks.db"), "sync"]) == 2
    assert "--app module:webhooks" in capsys.readouterr().err


def test_with_svix_it_tells_about_the_outbox_and_what_to_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeSvix().running() as fake:
        monkeypatch.setenv("SVIX_API_KEY", "testsk_secret")
        monkeypatch.setenv("SVIX_SERVER_URL", fake.url)
        monkeypatch.setenv("WEBHOOKS_DATABASE", str(tmp_path / "webhooks.db"))
        assert main(["migrate"]) == 0
        capsys.readouterr()
        status, found = command("status")
        assert (status, found["backend"], found["outboxWaiting"]) == (0, "svix", 0)
        assert main(["status"]) == 0
        assert capsys.readouterr().out == "outbox      0 events waiting, 0 dead-lettered\n"
        status, said = command("undelivered")
        assert status == 1
        assert "Svix stores the deliveries" in said["detail"]


# Words


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(1, "endpoint", "1 endpoint"), (0, "delivery", "0 deliveries"), (1200, "event type", "1,200 event types")],
)
def test_nouns_are_singular_for_one(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


def test_a_count_that_was_cut_says_so() -> None:
    assert counted(10_000, "delivery", limit=10_000) == "10,000 deliveries or more"


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (600, "10 min"), (7200, "2 h"), (86_400 * 3, "3 days")])
def test_durations_are_told_in_one_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# Without anything


def test_an_empty_list_says_so(make_store: Callable[[], Store], capsys: pytest.CaptureFixture[str]) -> None:
    async def create() -> None:
        async with make_store().lifespan():
            pass

    anyio.run(create)
    assert main(["events"]) == 0
    assert capsys.readouterr() == ("", "None.\n")


def test_a_retry_leaves_disabled_endpoints_out_and_says_how_many(
    made: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["disable", made["failing"]]) == 0
    capsys.readouterr()
    assert main(["retry", "--tenant", "acme", "--yes"]) == 0
    assert capsys.readouterr().out == "0 deliveries are due now. 2 deliveries to disabled endpoints left out.\n"
