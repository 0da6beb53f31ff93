"""`listen`, `tail`, `resend` and `trigger`, against a real server and a real app."""

from __future__ import annotations

import json
import select
import signal
import socketserver
import stat
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from http.client import parse_headers
from pathlib import Path
from typing import Any

import pytest

from starlette_webhooks.cli import main
from starlette_webhooks.signing import generate_secret, verify
from tests import plain
from tests.cli.running import popen
from tests.eventually import wait_for
from tests.hosts import MOUNT, bearer
from tests.receivers import Received, Receiver, receiving
from tests.servers import Server, end, free_port, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("listen")) as running:
        yield running


@pytest.fixture
def app() -> Generator[Receiver]:
    """The app of a developer."""
    with receiving() as running:
        yield running


def emit(server: Server, *events: dict[str, Any], tenant: str = "acme") -> list[str]:
    with plain.Client(base_url=server.url + MOUNT, headers=bearer(tenant)) as client:
        return [client.post("/test", json=event).raise_for_status().json()["id"] for event in events]


PAID, FAILED = {"eventType": "invoice.paid"}, {"eventType": "invoice.failed"}


class Listening:
    """A `listen` or `tail` in a process of its own, and the JSON that it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> dict[str, Any]:
        """The next line that it prints."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, self.process.communicate()
        found: dict[str, Any] = json.loads(text)
        return found

    def interrupt(self) -> tuple[int, str]:
        """Stop it as with Ctrl-C. Returns its exit status and its errors."""
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@contextmanager
def listening(server: Server, *arguments: str, command: str = "listen", key: str = "acme") -> Generator[Listening]:
    with popen(command, server.url + MOUNT, "--json", *arguments, WEBHOOKS_API_KEY=key) as process:
        try:
            yield Listening(process)
        finally:
            end(process)


@contextmanager
def answering(answer: bytes, *, drip: bytes = b"") -> Generator[str]:
    """An app that answers with these bytes, and then with more until the client leaves."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            headers = parse_headers(self.rfile)
            self.rfile.read(int(headers["content-length"]))
            with suppress(OSError):
                self.wfile.write(answer)
                while drip and not select.select([self.connection], [], [], 0.02)[0]:
                    self.wfile.write(drip)

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as app:
        app.daemon_threads = True
        thread = threading.Thread(target=app.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{app.server_address[1]}"
        finally:
            app.shutdown()
            thread.join()


def test_listen_forwards_signed_events_and_continues_where_it_stopped(
    server: Server, app: Receiver, tmp_path: Path
) -> None:
    state = tmp_path / "new" / "state.json"
    options = ["--forward-to", app.url, "--state", str(state), "--event-type", "invoice.paid"]
    with listening(server, *options) as first:
        greeting = first.line()
        assert (greeting["forwardTo"], greeting["resumedAfter"]) == (app.url, None)
        (paid, _) = emit(server, PAID, FAILED)
        line = first.line()
        assert (line["id"], line["eventType"], line["status"], line["error"]) == (paid, "invoice.paid", 200, None)
        assert first.interrupt() == (130, "\nInterrupted.\n")
    (request,) = app.requests
    verify(greeting["secret"], request.headers, request.body)
    assert json.loads(request.body)["type"] == "invoice.paid"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    missed = emit(server, PAID, PAID)
    with listening(server, *options) as second:
        assert second.line() == {**greeting, "resumedAfter": paid}
        assert [second.line()["id"] for _ in range(2)] == missed
    assert app.ids() == [paid, *missed]


def test_listen_posts_an_event_again_by_choice(server: Server, app: Receiver, tmp_path: Path) -> None:
    answers = iter([500, 500, 200, 500])

    def answer(request: Received) -> int:
        return next(answers)

    app.answer = answer
    options = ["--forward-to", app.url, "--state", str(tmp_path / "state.json")]
    with listening(server, *options, "--retries", "2") as listen:
        listen.line()
        ids = emit(server, PAID, PAID)
        lines = [listen.line() for _ in range(4)]
        assert [(line["id"], line["status"], line["retrying"]) for line in lines] == [
            (ids[0], 500, True),
            (ids[0], 500, True),
            (ids[0], 200, False),
            (ids[1], 500, True),
        ]


def test_listen_waits_for_an_app_that_is_not_running(server: Server) -> None:
    emit(server, PAID)
    target = f"http://127.0.0.1:{free_port()}"
    options = ["--forward-to", target, "--no-state", "--since", "5m", "--key", "acme"]
    with popen("listen", server.url + MOUNT, *options) as process:
        assert process.stderr is not None
        assert f"{target} cannot be reached" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert "The secret is whsec_" in output
    assert errors == "\nInterrupted.\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Oops\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 500 Oops\r\n\r\n" + b"." * 2_000_000,
    ],
    ids=["not compressed as it says", "truncated", "large"],
)
def test_listen_goes_on_whatever_body_the_app_answers_with(server: Server, answer: bytes) -> None:
    with answering(answer) as url, listening(server, "--forward-to", url, "--no-state") as listen:
        listen.line()
        ids = emit(server, PAID, PAID)
        assert [(line["id"], line["status"]) for line in (listen.line(), listen.line())] == [(id, 500) for id in ids]


def test_listen_does_not_wait_for_the_end_of_an_endless_body(server: Server) -> None:
    dripping = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with (
        answering(dripping, drip=b": heartbeat\n\n") as url,
        listening(server, "--forward-to", url, "--no-state", "--timeout", "0.3") as listen,
    ):
        listen.line()
        emit(server, PAID)
        line = listen.line()
        assert (line["status"], line["error"]) == (0, "no answer in time")


def test_only_one_listen_uses_a_state(server: Server, app: Receiver, tmp_path: Path) -> None:
    options = ["--forward-to", app.url, "--state", str(tmp_path / "state.json")]
    with listening(server, *options) as first:
        first.line()
        with popen("listen", server.url + MOUNT, "--key", "acme", *options) as second:
            _, errors = second.communicate(timeout=30)
            assert second.returncode == 1
            assert "Pass `--state`" in errors


def test_tail_prints_events_of_the_past_and_new_ones(server: Server, tmp_path: Path) -> None:
    (old,) = emit(server, PAID, tenant="globex")
    # Longer ago than the year 1.
    options = ["--since", "999999d", "--event-type", "invoice.paid", "--event-type", "document.created"]
    with listening(server, *options, command="tail", key="globex") as tail:
        assert tail.line()["id"] == old
        emit(server, FAILED, PAID, tenant="globex")
        event = tail.line()
        assert (event["eventType"], event["test"]) == ("invoice.paid", True)
        assert event == plain.get(f"{server.url}{MOUNT}/events/{event['id']}", headers=bearer("globex")).json()


def test_trigger_and_resend(server: Server, app: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, key = server.url + MOUNT, ["--key", "acme"]

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main([arguments[0], url, *arguments[1:], *key])
        said = capsys.readouterr()
        return status, said.out, said.err

    status, said, _ = run("trigger", "document.created", "--data", '{"title": "Plan"}', "--json")
    event = json.loads(said)
    assert (status, event["payload"]["data"]) == (0, {"title": "Plan"})
    status, _, said = run("trigger", "document.created", "--data", "{")
    assert (status, "It is not JSON" in said) == (2, True)
    status, _, said = run("trigger", "document.unknown")
    assert (status, said.startswith("Error: The server answered 422")) == (1, True)

    status, _, said = run("resend", event["id"])
    assert (status, "There is none." in said) == (2, True)
    with plain.Client(base_url=url, headers=bearer("acme")) as client:
        endpoint = client.post("/endpoints", json={"url": app.url, "eventTypes": ["invoice.failed"]}).json()["id"]
    assert run("resend", event["id"])[:2] == (0, f"{event['id']} is sent to {endpoint} again.\n")
    wait_for(lambda: app.ids() == [event["id"]])
    assert run("resend", event["id"], "--endpoint", endpoint)[0] == 0
    wait_for(lambda: app.ids() == [event["id"]] * 2)

    secret = generate_secret()
    target = ["--forward-to", app.url, "--secret", secret]
    status, said, _ = run("resend", event["id"], *target)
    assert (status, "200" in said) == (0, True)
    verify(secret, app.requests[-1].headers, app.requests[-1].body)
    nobody = ["--forward-to", f"http://127.0.0.1:{free_port()}", "--secret", secret]
    assert run("resend", event["id"], *nobody)[0] == 1
    status, _, said = run("resend", event["id"], "--forward-to", app.url, "--state", str(tmp_path / "none"))
    assert (status, "Pass `--secret`" in said) == (2, True)
    status, _, said = run("resend", event["id"], *target, "--endpoint", endpoint)
    assert (status, "either" in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tail", "example.com"], "must be that of the API"),
        (["tail", "https://example.com", "--since", "yesterday"], "is not a time"),
        (["listen", "https://example.com", "--forward-to", "localhost:3000"], "is not an HTTP URL"),
        (["listen", "https://example.com", "--forward-to", "http://localhost:port/"], "is not an HTTP URL"),
        (["resend", "https://example.com", "msg_1", "--forward-to", "/hooks"], "is not an HTTP URL"),
        (["listen", "https://example.com", "--forward-to", "http://a", "--retries", "some"], "`forever`"),
        (["listen", "https://example.com", "--forward-to", "http://a", "--secret", "some"], "secret"),
        (["tail", "https://example.com:port"], "must be that of the API"),
        (["trigger", "https://example.com", "a", "--data", '{"a": NaN}'], "is not JSON"),
        (["trigger", "https://example.com", "a", "--data", '{"a": 1e400}'], "is not JSON"),
        (["trigger", "https://example.com", "a", "--data", '{"a": "\\ud800"}'], "surrogate"),
        (["trigger", "https://example.com", "a", "--data", "[" * 100_000], "is not JSON"),
    ],
)
def test_wrong_usage_is_said(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--key", "acme"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", '{"lastEventId": "msg_1", "secret": "short"}'])
def test_a_file_of_something_else_is_not_overwritten(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.json"
    state.write_text(content)
    url = "http://127.0.0.1:1"
    assert main(["listen", url, "--key", "acme", "--forward-to", url, "--state", str(state)]) == 1
    assert "is not a state" in capsys.readouterr().err
    assert state.read_text() == content


def test_the_key_is_refused_with_a_reason(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tail", server.url + MOUNT, "--key", "nobody", "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["code"] == "unauthorized"
