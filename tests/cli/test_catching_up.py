"""`listen` shows on a terminal how far it is behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Generator
from typing import Any

import pytest

from tests.cli.running import on_terminal, popen
from tests.client.scripted import Answer, Api, event_of, frame, scripted_api, stream
from tests.receivers import Receiver, receiving

ERASE = "\r\x1b[2K"


@pytest.fixture
def app() -> Generator[Receiver]:
    """The app of a developer."""
    with receiving() as running:
        yield running


@pytest.fixture
def api() -> Generator[Api]:
    with scripted_api() as running:
        yield running


def at(number: int, time: str) -> dict[str, Any]:
    return {**event_of(number), "timestamp": time}


EVENTS = [at(0, "2026-11-23T19:50:00Z"), at(1, "2026-11-23T20:50:00Z"), at(2, "2026-11-23T21:50:00Z")]
LATER = at(3, "2026-11-23T21:50:10Z")


def newest(event: dict[str, Any]) -> Answer:
    page = {"events": [event], "nextCursor": None, "done": True}
    return Answer(200, {}, json.dumps(page).encode())


def command(api: Api, app: Receiver, *options: str) -> list[str]:
    target = ["--forward-to", app.url, "--no-state", "--since", "30d", "--key", "acme"]
    return ["listen", api.url, *target, *options]


def read_until(shown: int, text: str) -> str:
    """Return what a terminal has shown when it shows this."""
    found = b""
    while text.encode() not in found:
        found += os.read(shown, 65_536)
    return found.decode().replace("\r\n", "\n")


def test_a_line_shows_how_far_it_is_behind_until_it_has_caught_up(api: Api, app: Receiver) -> None:
    api.then(newest(EVENTS[1]), newest(EVENTS[2]), newest(LATER), path="/events")
    api.then(stream(*map(frame, [*EVENTS, LATER]), end="hold"))
    with on_terminal(*command(api, app, "--event-type", "invoice.paid")) as (process, shown):
        text = read_until(shown, LATER["id"])
        process.send_signal(signal.SIGINT)
        text += read_until(shown, "Interrupted.")
        assert process.wait(10) == 130
    *pieces, rest = text.split("Press Ctrl-C to stop.\n")[1].split(ERASE)
    # Each line is printed in place of the status, which then follows it.
    assert [piece.rpartition("\n")[2] for piece in pieces] == [
        *["Catching up: 0 events forwarded, 60 min behind."] * 2,
        *["Catching up: 1 event forwarded, 0 s behind."] * 2,
        *["Catching up: 2 events forwarded, 0 s behind."] * 2,
    ]
    assert [event["id"] in piece for event, piece in zip(EVENTS, pieces[1::2], strict=True)] == [True] * 3
    assert rest.startswith("Caught up: 3 events in ")
    assert LATER["id"] in rest
    assert "Catching" not in rest


def test_without_a_terminal_nothing_is_shown_or_asked(api: Api, app: Receiver) -> None:
    api.then(stream(*map(frame, EVENTS), end="hold"))
    with popen(*command(api, app)) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert EVENTS[2]["id"] in lines[-1]
    assert errors == "\nInterrupted.\n"
    assert api.to("/events") == []
