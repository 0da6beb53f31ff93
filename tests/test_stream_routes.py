"""The stream over HTTP: from the host's emit to the reader, with resume, filters, tickets and limits."""

from __future__ import annotations

import gc
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.testclient import TestClient

from starlette_webhooks import Principal, Webhooks
from starlette_webhooks.identifiers import mint
from starlette_webhooks.portal.session import SESSION_COOKIE
from starlette_webhooks.scope import DEFERRED
from starlette_webhooks.sessions import Session
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.tokens import sign_token
from tests import plain
from tests.eventually import wait_for
from tests.hosts import MOUNT, READ, bearer, enter, make_app, make_webhooks, session_of
from tests.servers import serving
from tests.settings import make_settings

ACME = bearer("acme")
# The host of the tests reads the session from `X-User`.
COOKIE = {"Cookie": "session=1", "X-User": "acme"}
STREAM = f"{MOUNT}/events/stream"


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> WebhooksSettings:
    """Settings for each backend that keeps a log of its own."""
    if request.param == "sqlite":
        return make_settings(tmp_path)
    schema = request.getfixturevalue("migrated_schema")
    return make_settings(database=request.getfixturevalue("postgresql_url"), database_schema=schema)


@pytest.fixture
def webhooks(settings: WebhooksSettings) -> Webhooks:
    return make_webhooks(settings)


@pytest.fixture
def client(webhooks: Webhooks) -> Iterator[TestClient]:
    with TestClient(make_app(webhooks)) as client:
        yield client


def emit(client: Any, event_type: str = "invoice.paid", tenant: str = "acme", **data: Any) -> str:
    response = client.post(f"{MOUNT}/test", json={"eventType": event_type, "data": data}, headers=bearer(tenant))
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def frames(response: Any, count: int) -> list[dict[str, str]]:
    """The next frames with data, by field."""
    found: list[dict[str, str]] = []
    frame: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            frame[name] = value
            continue
        if "data" in frame:
            found.append(frame)
        frame = {}
        if len(found) == count:
            return found
    raise AssertionError(f"The stream ended after {found}")


def refusal(response: Any) -> str:
    """Return the reason that a browser gets, after a time to retry."""
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    found = re.fullmatch(r"retry: (\d+)\n\n: (.*)\n\n", response.text)
    assert found is not None, response.text
    assert 5000 <= int(found[1]) <= 30_000
    return found[2]


def test_the_stream_sends_what_the_list_shows(client: TestClient) -> None:
    with client.stream("GET", STREAM, headers=ACME) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        identifier = emit(client, n=1)
        (frame,) = frames(response, 1)
    assert set(frame) == {"id", "data"}
    assert frame["id"] == identifier
    assert json.loads(frame["data"]) == client.get(f"{MOUNT}/events/{identifier}", headers=ACME).json()


def test_a_stream_carries_its_own_tenant_only(client: TestClient) -> None:
    with client.stream("GET", STREAM, headers=ACME) as response:
        emit(client, tenant="globex")
        mine = emit(client)
        assert [frame["id"] for frame in frames(response, 1)] == [mine]


def test_a_stream_resumes_after_the_last_event_id_it_is_given(client: TestClient) -> None:
    ids = [emit(client, n=n) for n in range(5)]
    with client.stream("GET", STREAM, headers={**ACME, "Last-Event-ID": ids[1]}) as response:
        ids.append(emit(client, n=5))
        assert [frame["id"] for frame in frames(response, 4)] == ids[2:]


@pytest.mark.parametrize("name", ["last_event_id", "lastEventId"])
def test_a_stream_resumes_by_the_query_too(client: TestClient, name: str) -> None:
    ids = [emit(client, n=n) for n in range(2)]
    with client.stream("GET", STREAM, params={name: ids[0]}, headers=ACME) as response:
        assert [frame["id"] for frame in frames(response, 1)] == ids[1:]


def test_a_filter_leaves_out_other_types(client: TestClient) -> None:
    with client.stream("GET", f"{STREAM}?event_type=invoice.failed", headers=ACME) as response:
        emit(client, "invoice.paid")
        failed = emit(client, "invoice.failed")
        assert [frame["id"] for frame in frames(response, 1)] == [failed]


@pytest.mark.parametrize("last", ["foreign", "unknown", "nonsense"])
def test_after_an_unknown_id_a_stream_sends_a_gap_and_the_kept_events(client: TestClient, last: str) -> None:
    foreign, unknown = emit(client, tenant="globex"), mint("msg_")
    ids = [emit(client, n=n) for n in range(2)]
    asked = {"foreign": foreign, "unknown": unknown, "nonsense": "what?"}[last]
    with client.stream("GET", STREAM, headers={**ACME, "Last-Event-ID": asked}) as response:
        assert response.status_code == 200
        gap, *events = frames(response, 3)
    assert gap["event"] == "gap"
    assert json.loads(gap["data"]) == {"requested": asked, "oldest": ids[0]}
    assert [frame["id"] for frame in events] == ids


def test_an_id_that_is_too_long_is_cut(client: TestClient) -> None:
    kept = emit(client)
    with client.stream("GET", STREAM, headers={**ACME, "Last-Event-ID": "x" * 5000}) as response:
        gap, event = frames(response, 2)
    assert json.loads(gap["data"]) == {"requested": "x" * 200, "oldest": kept}
    assert event["id"] == kept


def test_after_an_id_from_the_future_a_stream_sends_a_gap_and_new_events(client: TestClient) -> None:
    old = emit(client)
    asked = mint("msg_", 4_000_000_000_000)
    with client.stream("GET", STREAM, headers={**ACME, "Last-Event-ID": asked}) as response:
        lines = response.iter_lines()
        data = next(line for line in lines if line.startswith("data: "))
        assert json.loads(data[6:]) == {"requested": asked, "oldest": old}
        ids = (line for line in lines if line.startswith("id: "))
        assert next(ids) == f"id: {old}", "it does not ask for the id from the future again"
        new = emit(client)
        assert next(ids) == f"id: {new}"


def test_a_position_is_that_of_the_last_event_and_resumes_after_it(client: TestClient) -> None:
    def position() -> str:
        answer = client.get(f"{STREAM}/position", headers=ACME)
        assert (answer.status_code, list(answer.json())) == (200, ["lastEventId"])
        return str(answer.json()["lastEventId"])

    empty, first = position(), emit(client)
    assert position() == first
    second = emit(client)
    for after, later in ((empty, [first, second]), (first, [second])):
        with client.stream("GET", STREAM, headers={**ACME, "Last-Event-ID": after}) as response:
            assert [frame["id"] for frame in frames(response, len(later))] == later


def test_a_ticket_opens_the_stream_of_its_tenant_and_filter(client: TestClient) -> None:
    body = {"eventTypes": ["invoice.failed"]}
    created = client.post(f"{STREAM}/ticket", json=body, headers=bearer("acme-read"))
    assert created.status_code == 201
    ticket = created.json()["ticket"]
    for _ in range(2):  # The ticket survives reconnects.
        with client.stream("GET", STREAM, params={"ticket": ticket}) as response:
            assert response.status_code == 200
            emit(client, "invoice.paid")
            failed = emit(client, "invoice.failed")
            assert [frame["id"] for frame in frames(response, 1)] == [failed]


def test_a_ticket_that_was_changed_opens_nothing(client: TestClient) -> None:
    ticket = client.post(f"{STREAM}/ticket", headers=ACME).json()["ticket"]
    body, _, mac = ticket.partition(".")
    for bad in (f"{body}x.{mac}", f"{body}.{mac[:-2]}AA", body, "", "é.é", f"{body}.{mac}.{mac}"):
        assert client.get(STREAM, params={"ticket": bad}).status_code == 401, bad


def test_a_ticket_that_has_expired_is_answered_by_a_stream_that_says_so(webhooks: Webhooks, client: TestClient) -> None:
    ticket = client.post(f"{STREAM}/ticket", headers=ACME).json()["ticket"]
    webhooks.set_clock(lambda: 4_000_000_000.0)
    assert refusal(client.get(STREAM, params={"ticket": ticket})) == (
        "ticket_expired: The ticket has expired. Get a new one from `POST /events/stream/ticket`."
    )


def test_a_session_that_has_expired_is_answered_by_a_stream_that_says_so(
    webhooks: Webhooks, client: TestClient
) -> None:
    session = {"Cookie": session_of(client, "acme")}
    changed = {"Cookie": session["Cookie"][:-2] + "AA"}
    webhooks.set_clock(lambda: 4_000_000_000.0)
    for headers in (session, {**session, "Authorization": "Basic dXNlcjpwYXNz"}):
        assert (
            refusal(client.get(STREAM, headers=headers)) == "session_expired: The session has expired. Sign in again."
        )

    def refused(path: str, headers: dict[str, str]) -> str:
        response = client.get(path, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        return str(response.json()["code"])

    assert refused(STREAM, {**session, "Accept": "text/event-stream, application/json"}) == "session_expired"
    assert refused(f"{MOUNT}/events", session) == "session_expired"
    assert refused(STREAM, {**session, **bearer("unknown")}) == "unauthorized"
    assert refused(STREAM, changed) == "unauthorized"


def test_a_ticket_does_not_outlive_the_session_that_it_came_from(client: TestClient) -> None:
    link = client.post(f"{MOUNT}/portal", json={"expiresIn": 60}, headers=ACME).json()
    cookie = enter(client, link["url"]).headers["set-cookie"].partition(";")[0]
    client.cookies.clear()
    session = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
    by_session = client.post(f"{STREAM}/ticket", headers=session).json()
    by_key = client.post(f"{STREAM}/ticket", headers=ACME).json()
    assert by_session["expiresAt"] <= link["expiresAt"] < by_key["expiresAt"]


def test_a_stream_does_not_outlive_the_session_that_opened_it(settings: WebhooksSettings) -> None:
    key = "k" * 32
    webhooks = make_webhooks(settings.model_copy(update={"secret_key": SecretStr(key)}))
    with TestClient(make_app(webhooks)) as client:
        claims = Session(Principal("acme", [READ]), int(time.time()) + 2, "1", "").claims()
        session = {"Cookie": f"{SESSION_COOKIE}={sign_token([key.encode()], 'portal session', claims)}"}
        with client.stream("GET", STREAM, headers=session) as response:
            assert response.status_code == 200
            for _ in response.iter_raw():
                pass
        assert webhooks.health()["streams"]["closed"]["expired"] == 1


def test_revoking_the_sessions_of_a_tenant_ends_its_tickets_and_their_open_streams(
    webhooks: Webhooks, client: TestClient
) -> None:
    ticket = client.post(f"{STREAM}/ticket", headers=ACME).json()["ticket"]
    session = {"Cookie": session_of(client, "acme")}
    other = {"Cookie": session_of(client, "globex")}
    assert client.portal is not None
    with client.stream("GET", STREAM, params={"ticket": ticket}) as by_ticket:
        with client.stream("GET", STREAM, headers=session) as by_session:
            client.portal.call(webhooks.revoke_sessions, "acme")
            for stream in (by_ticket, by_session):
                for _ in stream.iter_raw():
                    pass
    assert webhooks.health()["streams"]["closed"]["revoked"] == 2
    refused = client.get(STREAM, params={"ticket": ticket})
    assert (refused.status_code, refused.json()["code"]) == (401, "ticket_revoked")
    for path in (STREAM, f"{MOUNT}/events"):
        assert client.get(path, headers=session).status_code == 401
    assert client.get(f"{MOUNT}/events", headers=other).status_code == 200
    assert client.get(f"{MOUNT}/events", headers=ACME).status_code == 200


def test_a_ticket_is_valid_for_streams_only(client: TestClient) -> None:
    ticket = client.post(f"{STREAM}/ticket", headers=ACME).json()["ticket"]
    assert client.get(f"{MOUNT}/events", params={"ticket": ticket}).status_code == 401
    cookies = {"Cookie": f"starlette_webhooks_session={ticket}"}
    assert client.get(f"{MOUNT}/events", headers=cookies).status_code == 401


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 401),
        ("", bearer("acme-write"), 403),
        ("?event_type=nope", ACME, 400),
        ("?limit=5", ACME, 400),
        ("?ticket=x.y&event_type=invoice.paid", ACME, 401),
    ],
)
def test_a_bad_call_is_refused_before_the_stream_starts(
    client: TestClient, query: str, headers: dict[str, str], status: int
) -> None:
    response = client.get(f"{STREAM}{query}", headers=headers)
    assert response.status_code == status
    assert set(response.json()) == {"code", "detail"}


def test_head_answers_headers_only(client: TestClient) -> None:
    response = client.head(STREAM, headers=ACME)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.content == b""


def test_streams_above_the_limit_are_refused_temporarily(settings: WebhooksSettings) -> None:
    limited = settings.model_copy(update={"streams_per_tenant": 1})
    with TestClient(make_app(make_webhooks(limited))) as client:
        with client.stream("GET", STREAM, headers=ACME) as response:
            assert response.status_code == 200
            refused = client.get(STREAM, headers=ACME)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
            assert int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize("browser", ["ticket", "cookie"])
def test_a_browser_above_the_limit_gets_a_stream_that_says_when_to_retry(
    settings: WebhooksSettings, browser: str
) -> None:
    limited = settings.model_copy(update={"streams_per_tenant": 1})
    with TestClient(make_app(make_webhooks(limited))) as client:
        ticket = client.post(f"{STREAM}/ticket", headers=ACME).json()["ticket"]
        call: dict[str, Any] = {"headers": COOKIE} if browser == "cookie" else {"params": {"ticket": ticket}}
        with client.stream("GET", STREAM, headers=ACME) as response:
            assert response.status_code == 200
            assert refusal(client.get(STREAM, **call)).startswith("too_many_streams: 1 stream is open")
            assert client.get(STREAM, headers={**COOKIE, **ACME}).status_code == 429, "a key wins over a cookie"
            assert client.get(STREAM, headers={"X-User": "acme"}).status_code == 429, "no cookie, no browser"
            call["headers"] = {**call.get("headers", {}), "Accept": "application/json"}
            assert client.get(STREAM, **call).status_code == 429, "an `EventSource` accepts no JSON"


def test_drain_ends_streams_and_refuses_new_ones(webhooks: Webhooks, client: TestClient) -> None:
    with client.stream("GET", STREAM, headers=ACME) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("retry: ")
        webhooks.drain()
        assert any(line.startswith("retry: ") for line in lines), "it ends, and says when to retry"
    assert client.get(STREAM, headers=ACME).status_code == 503
    assert refusal(client.get(STREAM, headers=COOKIE)).startswith("unavailable: The server is stopping.")


def test_permanent_errors_keep_their_status_for_browsers_too(client: TestClient) -> None:
    assert client.get(STREAM, headers={"Cookie": "session=ended"}).status_code == 401
    assert client.get(f"{STREAM}?event_type=nope", headers=COOKIE).status_code == 400


@pytest.mark.parametrize("server", ["uvicorn", "granian", "hypercorn"])
def test_a_real_server_streams_heartbeats_and_stops_with_a_stream_open(tmp_path: Path, server: str) -> None:
    with serving(tmp_path, server=server, heartbeat="0.2") as running:
        lines: list[str] = []
        opened = threading.Event()

        def read() -> None:
            try:
                with plain.stream("GET", running.url + STREAM, headers=ACME, timeout=20) as response:
                    for line in response.iter_lines():
                        lines.append(line)
                        opened.set()
            except httpx.RemoteProtocolError:
                lines.append("broken")

        reader = threading.Thread(target=read)
        reader.start()
        assert opened.wait(10)
        with plain.Client(base_url=running.url) as http:
            identifier = emit(http, n=1)
        wait_for(lambda: lines.count(": heartbeat") >= 2)
        running.stop(timeout=8)
        reader.join(5)
        assert not reader.is_alive()
        assert f"id: {identifier}" in lines
        assert lines[-1] != "broken"


def test_a_ticket_is_not_in_the_servers_log(tmp_path: Path) -> None:
    with serving(tmp_path, args=["--log-level", "info"]) as running:
        ticket = plain.post(f"{running.url}{STREAM}/ticket", headers=ACME).json()["ticket"]
        with plain.stream("GET", running.url + STREAM, params={"ticket": ticket}) as response:
            assert response.status_code == 200
        running.stop()
        log = running.log.read_text()
    assert "ticket=redacted" in log
    assert ticket not in log


def test_a_stream_that_ends_before_its_first_event_can_be_resumed(webhooks: Webhooks, client: TestClient) -> None:
    before = emit(client, n=1)
    with client.stream("GET", STREAM, headers=ACME) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("retry: ")
        webhooks.drain()
        assert f"id: {before}" in list(lines)


async def test_an_open_stream_keeps_no_reference_to_the_router(webhooks: Webhooks) -> None:
    begun, leave = anyio.Event(), anyio.Event()
    headers = [(name.lower().encode(), value.encode()) for name, value in ACME.items()]
    scope = {"type": "http", "method": "GET", "path": "/events/stream", "query_string": b"", "headers": headers}

    def requests() -> list[Request]:
        gc.collect()
        found = [one for one in gc.get_objects() if isinstance(one, Request) and DEFERRED in one.scope]
        return [one for one in found if one.scope["path"] == "/events/stream"]

    async def receive() -> dict[str, Any]:
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("body"):
            begun.set()

    with anyio.fail_after(10):
        async with webhooks.lifespan(), anyio.create_task_group() as tasks:
            tasks.start_soon(webhooks, scope, receive, send)
            await begun.wait()
            assert webhooks.health()["streams"]["streams"] == 1
            assert requests() == []
            leave.set()
