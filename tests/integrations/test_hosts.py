"""The same behaviour in Starlette, FastAPI and Litestar, on both event loops."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from starlette_webhooks import BackendUnavailable, Webhooks
from starlette_webhooks.settings import WebhooksSettings
from tests.hosts import MOUNT, bearer, enter, session_of
from tests.integrations.apps import HOSTS
from tests.integrations.hosting import Host, webhooks_for
from tests.settings import make_settings

ACME = {"X-User": "acme"}


@pytest.fixture(params=list(HOSTS))
def host(request: pytest.FixtureRequest) -> Host:
    """Makes a host in one of the frameworks."""
    return HOSTS[request.param]


@pytest.fixture
def webhooks(settings: WebhooksSettings) -> Webhooks:
    return webhooks_for(settings)


@contextmanager
def running(app: Any, loop: str, **options: Any) -> Iterator[TestClient]:
    with TestClient(app, backend=loop, raise_server_exceptions=False, **options) as client:  # type: ignore[arg-type]
        yield client


@pytest.fixture
def client(host: Host, webhooks: Webhooks, anyio_backend: str) -> Iterator[TestClient]:
    with running(host(webhooks), anyio_backend) as client:
        yield client


class Records(logging.Handler):
    """Our log records, whatever the host does to logging: Litestar reconfigures it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    handler, logger = Records(), logging.getLogger("starlette_webhooks")
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)


def listed(client: TestClient, path: str = MOUNT) -> list[dict[str, Any]]:
    response = client.get(f"{path}/events", headers=bearer("acme"))
    assert response.status_code == 200, response.text
    # Newest first. The first event is the one that the host emits at startup.
    events: list[dict[str, Any]] = response.json()["events"][:-1]
    return events


def origins(client: TestClient) -> list[str]:
    events = client.get(f"{MOUNT}/events", headers=bearer("acme")).json()["events"]
    return [event["payload"]["data"].get("from") for event in reversed(events)]


# Emitting


@pytest.mark.parametrize("path", ["/emit", "/emit-in-thread"])
def test_an_event_is_listed_once_its_response_has_arrived(client: TestClient, path: str) -> None:
    response = client.post(path, json={}, headers=ACME)
    assert response.status_code in (200, 201), response.text
    assert [event["id"] for event in listed(client)] == [response.json()["id"]]


def test_background_tasks_emit(client: TestClient) -> None:
    assert client.post("/emit-in-background", headers=ACME).status_code in (200, 201)
    assert origins(client) == ["startup", "background"]


def test_websockets_emit(client: TestClient) -> None:
    with client.websocket_connect("/socket", headers=ACME) as websocket:
        websocket.send_json({"n": 1})
        identifier = websocket.receive_json()["id"]
    assert [event["id"] for event in listed(client)] == [identifier]


def test_the_hosts_own_startup_and_shutdown_emit(host: Host, webhooks: Webhooks, anyio_backend: str) -> None:
    app = host(webhooks)
    with running(app, anyio_backend) as client:
        assert origins(client) == ["startup"]
    with running(app, anyio_backend) as client:
        assert origins(client) == ["startup", "shutdown", "startup"]


def test_an_event_is_kept_when_the_host_fails_after_it(client: TestClient) -> None:
    response = client.post("/emit-then-fail", headers=ACME)
    assert (response.status_code, response.text) == (500, "the host's own page")
    assert [event["eventType"] for event in listed(client)] == ["invoice.failed"]


# Errors


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/events/msg_unknown", 404, "not_found"),
        ("DELETE", "/events", 405, "method_not_allowed"),
        ("GET", "/events?limit=0", 400, "invalid_request"),
        ("POST", "/endpoints", 422, "invalid_body"),
    ],
)
def test_errors_of_the_routes_are_json(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    response = client.request(method, MOUNT + path, headers=bearer("acme"))
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert ("allow" in response.headers) == (status == 405)


def test_a_call_without_a_key_is_refused(client: TestClient) -> None:
    response = client.get(f"{MOUNT}/events")
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


def test_an_unexpected_error_below_the_mount_is_answered_by_the_host_once(
    host: Host, settings: WebhooksSettings, anyio_backend: str
) -> None:
    def authenticate(connection: HTTPConnection) -> None:
        raise RuntimeError("the host's database is down")

    with running(host(webhooks_for(settings, authenticate=authenticate)), anyio_backend) as client:
        response = client.get(f"{MOUNT}/events")
        assert (response.status_code, response.text) == (500, "the host's own page")


@pytest.mark.parametrize("path", ["/emit", "/emit-in-thread"])
def test_where_an_event_cannot_be_stored_the_answer_is_503(
    host: Host, tmp_path: Path, anyio_backend: str, logged: list[logging.LogRecord], path: str
) -> None:
    with running(host(webhooks_for(make_settings(tmp_path))), anyio_backend) as client:
        (tmp_path / "webhooks.db").rename(tmp_path / "moved.db")
        for _ in range(3):
            response = client.post(path, json={}, headers=ACME)
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
            assert (response.headers["retry-after"], response.headers["connection"]) == ("5", "close")
        assert client.get("/nothing").status_code == 200
        (tmp_path / "moved.db").rename(tmp_path / "webhooks.db")
        assert client.post(path, json={}, headers=ACME).status_code in (200, 201)
    errors = [record.getMessage() for record in logged if record.levelname == "ERROR"]
    assert len(errors) == 1, "one line for the change, and no traceback"
    assert "was removed or replaced" in errors[0]


def test_where_events_of_background_tasks_cannot_be_stored_it_is_one_line_without_a_traceback(
    host: Host, tmp_path: Path, anyio_backend: str, logged: list[logging.LogRecord]
) -> None:
    with running(host(webhooks_for(make_settings(tmp_path))), anyio_backend) as client:
        (tmp_path / "webhooks.db").rename(tmp_path / "moved.db")
        for _ in range(3):
            assert client.post("/emit-in-background", headers=ACME).status_code in (200, 201)
        (tmp_path / "moved.db").rename(tmp_path / "webhooks.db")
        assert client.post("/emit-in-background", headers=ACME).status_code in (200, 201)
    told = [record.getMessage() for record in logged if "after the response" in record.getMessage()]
    assert [("lost" in text, "stored again" in text) for text in told] == [(True, False), (False, True)]
    assert not any(record.exc_info for record in logged)


def test_a_path_that_only_starts_like_the_mount_is_not_ours(client: TestClient) -> None:
    response = client.get(f"{MOUNT}x/events", headers=bearer("acme"))
    assert response.status_code == 404
    assert "There is nothing at this path" not in response.text


def test_a_backend_that_cannot_start_stops_the_host_from_starting(
    host: Host, tmp_path: Path, anyio_backend: str
) -> None:
    webhooks = webhooks_for(make_settings(tmp_path, database=str(tmp_path / "missing" / "webhooks.db")))
    # Litestar runs its lifespan in a task group.
    with (
        pytest.raises(Exception) as failure,
        running(host(webhooks), anyio_backend),
    ):
        pytest.fail("The host started.")
    error = failure.value
    while isinstance(error, ExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, BackendUnavailable)
    assert "WEBHOOKS_DATABASE" in str(error)


# Where it is mounted


@pytest.mark.parametrize(("prefix", "root"), [("", ""), ("/outer", ""), ("", "/proxy"), ("/outer", "/proxy")])
def test_the_urls_it_gives_out_work_under_any_mount_and_root_path(
    host: Host, webhooks: Webhooks, anyio_backend: str, prefix: str, root: str
) -> None:
    with running(host(webhooks, prefix), anyio_backend, root_path=root) as client:
        base = root + prefix + MOUNT
        client.post(f"{root}{prefix}/emit", json={}, headers=ACME)
        assert len(listed(client, base)) == 1
        assert client.get(f"{base}/openapi.json").json()["servers"] == [{"url": base}]
        portal = client.post(f"{base}/portal", headers=bearer("acme")).json()["url"]
        assert urlsplit(portal).path == f"{base}/dashboard"
        assert client.get(portal).status_code == 200
        assert enter(client, portal).status_code == 303
        assert client.get(f"{base}/dashboard/").status_code == 200


# Streams


def test_an_event_source_that_is_refused_gets_a_stream_that_says_why_and_a_key_gets_a_status(
    client: TestClient, webhooks: Webhooks
) -> None:
    stream = f"{MOUNT}/events/stream"
    session = {"Cookie": session_of(client, "acme")}
    ticket = {"ticket": client.post(f"{stream}/ticket", headers=bearer("acme")).json()["ticket"]}

    def reason(**call: Any) -> str:
        response = client.get(stream, **call)
        assert (response.status_code, response.headers["content-type"].split(";")[0]) == (200, "text/event-stream")
        return str(response.text.partition("\n: ")[2].partition(":")[0])

    webhooks.drain()
    assert [reason(headers=session), reason(params=ticket)] == ["unavailable", "unavailable"]
    assert client.get(stream, headers=bearer("acme")).status_code == 503
    webhooks.set_clock(lambda: 4_000_000_000.0)
    assert [reason(headers=session), reason(params=ticket)] == ["session_expired", "ticket_expired"]
    assert client.get(stream, headers=bearer("unknown")).status_code == 401


async def test_the_stream_carries_what_a_request_emits(host: Host, webhooks: Webhooks) -> None:
    """An endless response needs a client that reads while the app runs, which in-process clients do not."""
    app = host(webhooks)
    frames: list[bytes] = []
    got = anyio.Event()

    async def receive() -> dict[str, Any]:
        await got.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        frames.append(message.get("body", b""))
        if b"from-a-request" in frames[-1]:
            got.set()

    path = f"{MOUNT}/events/stream"
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), (b"authorization", b"Bearer acme")],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
    transport = httpx2.ASGITransport(app=app)
    with anyio.fail_after(10):
        async with webhooks.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(app, scope, receive, send)
                while not frames:
                    await anyio.sleep(0.01)
                await client.post("/emit", json={"n": "from-a-request"}, headers=ACME)
    assert b'"n":"from-a-request"' in b"".join(frames)
