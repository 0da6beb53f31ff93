"""Requests at the edges of the contract: repeated, too late, without what they need, or with clients that stall."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from starlette_webhooks import Webhooks, WebhooksMiddleware
from starlette_webhooks.backends.base import PortalAccess
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.endpoints import Endpoint
from starlette_webhooks.exceptions import BackendError, NotRunning
from starlette_webhooks.operations import EndpointStatus
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.readiness import stopped_health
from starlette_webhooks.settings import WebhooksSettings
from tests.hosts import MOUNT, bearer, enter, make_app, make_webhooks
from tests.servers import free_port
from tests.settings import make_settings

ACME = bearer("acme")
URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def webhooks(settings: WebhooksSettings) -> Webhooks:
    return make_webhooks(settings, backend=MemoryBackend(settings))


@pytest.fixture
def client(webhooks: Webhooks) -> Iterator[TestClient]:
    with TestClient(make_app(webhooks), base_url="http://testserver" + MOUNT, headers=ACME) as client:
        yield client


def test_the_modules_for_browsers_are_served_to_anyone(client: TestClient) -> None:
    client.headers.clear()
    module, types = client.get("/client.js"), client.get("/client.d.ts")
    assert (module.status_code, types.status_code) == (200, 200)
    assert module.headers["content-type"].startswith("text/javascript")
    assert "export" in types.text


def test_a_link_to_the_portal_is_also_made_by_get(client: TestClient) -> None:
    link = client.get("/portal").json()["url"]
    assert enter(client, link).status_code == 303


def test_a_backend_with_a_portal_of_its_own_gives_access_to_that_one(settings: WebhooksSettings) -> None:
    class Elsewhere(MemoryBackend):
        async def portal(self, tenant: str, *, write: bool, expires_in: int) -> PortalAccess:
            return PortalAccess(f"https://portal.example/{tenant}", datetime.now(UTC) + timedelta(seconds=expires_in))

    with TestClient(make_app(make_webhooks(settings, backend=Elsewhere(settings)))) as client:
        access = client.post(f"{MOUNT}/portal", json={"expiresIn": 600}, headers=ACME).json()
        assert access["url"] == "https://portal.example/acme"


def test_the_document_is_the_same_each_time(client: TestClient) -> None:
    first = client.get("/openapi.json")
    assert client.get("/openapi.json").content == first.content
    assert first.json()["servers"] == [{"url": MOUNT}]


def test_statistics_end_after_they_begin(client: TestClient) -> None:
    endpoint = client.post("/endpoints", json={"url": URL}).json()["id"]
    times = {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    answer = client.get(f"/endpoints/{endpoint}/stats", params=times)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_time")


def test_a_test_that_is_too_large_names_no_setting(tmp_path: Any) -> None:
    settings = make_settings(tmp_path, max_event_bytes=1024)
    with TestClient(make_app(make_webhooks(settings))) as client:
        body = {"eventType": "invoice.paid", "data": {"text": "x" * 2000}}
        answer = client.post(f"{MOUNT}/test", json=body, headers=ACME)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "The event has more than 1024 bytes. Send less `data`."


def test_no_secret_is_a_secret_that_is_made(client: TestClient) -> None:
    created = client.post("/endpoints", json={"url": URL, "secret": None})
    assert created.status_code == 201
    key = client.get(f"/endpoints/{created.json()['id']}/secret").json()["key"]
    assert key.startswith("whsec_")


def test_named_deliveries_must_be_an_object(client: TestClient) -> None:
    assert client.post("/undelivered/retry", json={"events": 5}).status_code == 422


# The portal


def test_the_portal_has_no_websockets(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/dashboard/events"):
        pass


def test_signing_out_without_a_session_does_no_harm(client: TestClient) -> None:
    client.headers.clear()
    headers = {"Sec-Fetch-Site": "same-origin"}
    answer = client.post("/dashboard/sign-out", headers=headers, follow_redirects=False)
    assert answer.status_code == 303


def test_a_link_works_once(client: TestClient) -> None:
    link = client.post("/portal", json={}).json()["url"]
    assert enter(client, link).status_code == 303
    client.cookies.clear()
    again = enter(client, link)
    assert again.status_code != 303
    assert "set-cookie" not in again.headers


# Clients that do not read


async def test_a_client_that_does_not_read_a_page_is_given_up(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings.model_copy(update={"stream_send_timeout": 0.01}))
    headers = [(b"authorization", b"Bearer acme"), (b"host", b"testserver")]
    scope = {"type": "http", "method": "GET", "path": "/events", "root_path": "", "query_string": b""}
    sent: list[str] = []

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await anyio.sleep_forever()

    async with webhooks.lifespan():
        for number in range(5):
            await webhooks.emitter("acme").send("invoice.paid", {"number": number})
        with anyio.fail_after(10):
            await webhooks({**scope, "headers": headers, "http_version": "1.1"}, receive, send)
    assert sent == ["http.response.start", "http.response.body"]


# The host


async def fail_with_a_group(request: Request) -> Response:
    request.state.webhooks.emit("invoice.paid", {}, tenant="acme")
    try:
        await PlainTextResponse("stored")(request.scope, request.receive, request._send)
    except BackendError as exc:
        raise ExceptionGroup("of the host's tasks", [LookupError("another"), exc]) from None
    raise AssertionError


async def fail_for_another_reason(request: Request) -> Response:
    request.state.webhooks.emit("invoice.paid", {}, tenant="acme")
    with suppress(BackendError):
        await PlainTextResponse("stored")(request.scope, request.receive, request._send)
    raise LookupError("the host's own")


def test_errors_of_the_host_beside_a_lost_event_reach_the_server_if_they_are_not_about_it(
    settings: WebhooksSettings,
) -> None:
    routes = [Route("/group", fail_with_a_group), Route("/other", fail_for_another_reason)]
    app = WebhooksMiddleware(Starlette(routes=routes), make_webhooks(settings))
    with TestClient(app) as client:
        Path(settings.database).unlink()
        assert client.get("/group").status_code == 503
        with pytest.raises(LookupError, match="the host's own"):
            client.get("/other")


async def test_an_emitter_outside_requests_has_nothing_to_flush(webhooks: Webhooks) -> None:
    async with webhooks.lifespan():
        await webhooks.emitter("acme").flush()


async def test_nothing_at_all_is_written_within_a_transaction(tmp_path: Any) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    outbox = Outbox(engine)
    outbox.metadata.create_all(engine)
    webhooks = make_webhooks(make_settings(tmp_path), outbox=outbox)
    async with webhooks.lifespan():
        with Session(engine) as session, session.begin():
            assert list(await webhooks.emitter("acme").send_many([], within=session)) == []
        assert webhooks.health()["hostOutbox"]["problem"] is None
    engine.dispose()


async def test_a_host_starts_while_the_database_of_its_outbox_is_away(
    settings: WebhooksSettings, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(f"postgresql://me@127.0.0.1:{free_port()}/shop")
    webhooks = make_webhooks(settings, outbox=outbox)
    async with webhooks.lifespan():
        await webhooks.check_outbox()
    assert "It is unknown whether the tables of the outbox exist" in caplog.text


async def test_dead_letters_are_read_while_webhooks_run(tmp_path: Any) -> None:
    outbox = Outbox(f"sqlite:///{tmp_path / 'host.db'}")
    webhooks = make_webhooks(make_settings(tmp_path), outbox=outbox)
    with pytest.raises(NotRunning):
        await webhooks.dead_letters()


def test_draining_before_the_start_and_after_the_end_does_nothing(webhooks: Webhooks) -> None:
    webhooks.drain()
    with TestClient(make_app(webhooks)):
        webhooks.drain()
    webhooks.drain()
    assert webhooks.health()["status"] == "stopped"


def test_an_endpoint_that_the_dispatcher_disabled_is_the_most_urgent_one() -> None:
    now = datetime.now(UTC)
    base: dict[str, Any] = {"id": "ep_1", "tenant": "acme", "url": URL, "created_at": now, "updated_at": now}
    by_hand = Endpoint(**base, disabled=True, disabled_reason="manual")
    by_failures = Endpoint(**base, disabled=True, disabled_reason="failing")
    works = Endpoint(**base)
    order = sorted([EndpointStatus(endpoint=one) for one in (by_hand, works, by_failures)], key=lambda one: one.urgency)
    assert [one.endpoint for one in order] == [by_failures, works, by_hand]


def test_what_ended_the_backend_is_in_its_health() -> None:
    health = stopped_health(MemoryBackend(make_settings()).health(), LookupError("of a task"))
    assert health["status"] == "stopped"
    assert health["error"] == "The backend ended unexpectedly: LookupError('of a task'). Restart the process."
