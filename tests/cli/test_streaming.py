"""`tail` and `listen` against a scripted API: gaps, pauses, and readers of the output that leave."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from starlette_webhooks.cli import main
from tests.cli.running import COMMAND, on_terminal
from tests.cli.test_catching_up import read_until
from tests.client.scripted import EMPTY, Answer, Api, event_of, frame, scripted_api, stream
from tests.receivers import receiving
from tests.servers import ROOT


@pytest.fixture
def api() -> Generator[Api]:
    with scripted_api() as running:
        yield running


GAP = b'event: gap\ndata: {"requested": "msg_0", "oldest": "%b"}\n\n' % EMPTY.encode()


def test_tail_tells_gaps_and_interruptions_and_continues(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    event = event_of(1)
    api.then(Answer(503, {"Retry-After": "0"}), stream(GAP, frame(event)), Answer(401))
    assert main(["tail", api.url, "--key", "acme"]) == 1
    said = capsys.readouterr()
    assert "Events are missing. Events after msg_0 may be missing" in said.out
    assert f"invoice.paid  {event['id']}" in said.out
    assert '{"number": 1}' in said.out
    assert "Waiting for events. Press Ctrl-C to stop." in said.err
    assert "Connecting again in" in said.err


def test_gaps_are_json_for_programs(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.then(stream(GAP), Answer(401))
    assert main(["tail", api.url, "--key", "acme", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"gap": {"requested": "msg_0", "oldest": EMPTY}}
    assert set(json.loads(said.err)) == {"code", "detail"}


def test_tail_ends_quietly_when_its_reader_has_ended(api: Api) -> None:
    api.then(stream(frame(event_of(1)), end="hold"))
    readable, writable = os.pipe()
    # As `head` does, only earlier.
    os.close(readable)
    command = [*COMMAND, "tail", api.url, "--key", "acme", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=writable, stderr=subprocess.PIPE, text=True) as process:
        os.close(writable)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (1, "")


def test_listen_keeps_its_state_in_the_directory_of_the_user(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    event = event_of(1)
    api.then(stream(frame(event)), Answer(401))
    with receiving() as app:
        assert main(["listen", api.url, "--key", "acme", "--forward-to", app.url]) == 1
        assert app.ids() == [event["id"]]
    (state,) = tmp_path.rglob("listen-*.json")
    assert state.stat().st_mode & 0o777 == 0o600
    assert json.loads(state.read_text())["lastEventId"] == event["id"]


def test_a_state_that_cannot_be_read_is_a_failure(api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = event_of(1)
    api.then(Answer(200, {}, json.dumps(event).encode()), path=f"/events/{event['id']}")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    arguments = ["resend", api.url, event["id"], "--key", "acme", "--forward-to", api.url, "--state", str(loop)]
    assert main(arguments) == 1
    assert f"{loop} cannot be used" in capsys.readouterr().err


def test_the_progress_of_a_long_operation_is_shown_on_a_terminal(tmp_path: Path) -> None:
    database, copy = str(tmp_path / "webhooks.db"), tmp_path / "copy.db"
    assert main(["--database", database, "migrate"]) == 0
    with on_terminal("--database", database, "backup", str(copy)) as (process, shown):
        text = read_until(shown, "copy.db")
        assert process.wait(30) == 0
    assert "Copying" in text
    assert copy.exists()
