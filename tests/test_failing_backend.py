"""What callers get while the backend refuses or cannot serve, and what an operator then sees."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn

import anyio
import httpx
import pytest
from starlette.testclient import TestClient

from starlette_webhooks import BackendUnavailable, Webhooks, WebhooksMiddleware
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.exceptions import BackendRefused, NotSupported, WebhooksError
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.undelivered import Retried, UndeliveredCount
from tests.hosts import MOUNT, bearer, make_app, make_webhooks

ACME = bearer("acme")
EVENT = "/events/msg_" + "0" * 27


class FailingBackend(MemoryBackend):
    """A backend whose operations fail while `error` is set.

    Attributes:
        error: What reading events and endpoints raises.
        count: What counting undelivered deliveries returns.
        retrying: Set while a retry runs, which ends once `released` is set.
    """

    def __init__(self, settings: WebhooksSettings) -> None:
        super().__init__(settings)
        self.error: WebhooksError | None = None
        self.count: UndeliveredCount | None = None
        self.retrying, self.released = anyio.Event(), anyio.Event()

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    async def get_event(self, tenant: str, id: str) -> Any:
        self._check()
        return await super().get_event(tenant, id)

    async def list_events(self, tenant: str, query: Any) -> Any:
        self._check()
        return await super().list_events(tenant, query)

    async def find_endpoints(self, query: Any) -> Any:
        self._check()
        return await super().find_endpoints(query)

    async def count_undelivered(self, query: Any, **options: Any) -> UndeliveredCount:
        return self.count or await super().count_undelivered(query, **options)

    async def retry_undelivered(self, query: Any, **options: Any) -> Retried:
        self.retrying.set()
        await self.released.wait()
        return await super().retry_undelivered(query, **options)


@pytest.fixture
def backend(settings: WebhooksSettings) -> FailingBackend:
    return FailingBackend(settings)


@pytest.fixture
def webhooks(settings: WebhooksSettings, backend: FailingBackend) -> Webhooks:
    return make_webhooks(settings, backend=backend)


@pytest.fixture
def client(webhooks: Webhooks) -> Iterator[TestClient]:
    with TestClient(make_app(webhooks), base_url="http://testserver" + MOUNT, headers=ACME) as client:
        yield client


@pytest.fixture
async def api(webhooks: Webhooks) -> AsyncIterator[httpx.AsyncClient]:
    """A client that makes several calls at a time."""
    transport = httpx.ASGITransport(make_app(webhooks))
    async with (
        webhooks.lifespan(),
        httpx.AsyncClient(transport=transport, base_url=f"http://testserver{MOUNT}", headers=ACME) as client,
    ):
        yield client


@pytest.mark.parametrize("path", [EVENT, "/events"])
def test_an_outage_is_503_and_says_when_to_try_again(
    client: TestClient, backend: FailingBackend, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend.error = BackendUnavailable("The disk is gone.")
    with caplog.at_level(logging.INFO, "starlette_webhooks"):
        answer = client.get(path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json() == {"code": "unavailable", "detail": "The service is unavailable. Try again later."}
    assert "A call could not be served: The disk is gone." in caplog.text
    backend.error = None
    # The memory that was reserved for the page is free again.
    for _ in range(100):
        assert client.get("/events").status_code == 200


@pytest.mark.parametrize(
    ("refused", "code", "detail"),
    [
        (
            BackendRefused("Too long.", code="too_long", detail="The name is too long."),
            "too_long",
            "The name is too long.",
        ),
        (BackendRefused("No."), "refused", "The backend refused the call."),
    ],
)
def test_what_the_backend_refuses_is_422_with_its_reason(
    client: TestClient,
    backend: FailingBackend,
    refused: BackendRefused,
    code: str,
    detail: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend.error = refused
    answer = client.get(EVENT)
    assert (answer.status_code, answer.json()) == (422, {"code": code, "detail": detail})
    assert "The backend refused a call" in caplog.text


def test_an_error_without_an_answer_is_the_hosts(client: TestClient, backend: FailingBackend) -> None:
    backend.error = WebhooksError("unexpected")
    with pytest.raises(WebhooksError, match="unexpected"):
        client.get(EVENT)


def test_endpoints_are_listed_without_their_health_where_the_backend_has_none(
    client: TestClient, backend: FailingBackend
) -> None:
    created = client.post("/endpoints", json={"url": "http://127.0.0.1:9/hook"}).json()
    backend.error = NotSupported("It has none.")
    (listed,) = client.get("/endpoints").json()["endpoints"]
    assert listed["id"] == created["id"]
    assert "waiting" not in listed


def test_a_ticket_has_its_own_filter(client: TestClient) -> None:
    ticket = client.post("/events/stream/ticket", json={}).json()["ticket"]
    client.headers.clear()
    answer = client.get(f"/events/stream?ticket={ticket}&event_type=invoice.paid")
    assert answer.status_code == 400
    assert "A ticket contains its filter" in answer.json()["detail"]


def test_more_deliveries_than_a_call_may_retry_are_refused(client: TestClient, backend: FailingBackend) -> None:
    backend.count = UndeliveredCount(10_000, exact=False)
    counted = client.post("/undelivered/retry", json={"countOnly": True})
    assert (counted.json()["matching"], counted.json()["exact"]) == (10_000, False)
    refused = client.post("/undelivered/retry", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_deliveries")


async def test_a_tenant_has_one_retry_at_a_time(api: httpx.AsyncClient, backend: FailingBackend) -> None:
    statuses: list[int] = []

    async def retry() -> None:
        statuses.append((await api.post("/undelivered/retry", json={})).status_code)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(retry)
        await backend.retrying.wait()
        second = await api.post("/undelivered/retry", json={})
        assert (second.status_code, second.json()["code"]) == (409, "retry_running")
        backend.released.set()
    assert statuses == [202]
    assert (await api.post("/undelivered/retry", json={})).status_code == 202


async def test_a_body_that_its_client_does_not_complete_is_refused(webhooks: Webhooks) -> None:
    incoming = iter([{"type": "http.request", "body": b'{"url":', "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message)

    async with webhooks.lifespan():
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/endpoints",
            "root_path": "",
            "query_string": b"",
            "http_version": "1.1",
            "headers": [(b"authorization", b"Bearer acme"), (b"host", b"testserver")],
        }
        await webhooks(scope, receive, send)
    assert sent[0]["status"] == 400
    assert b"The body is incomplete" in sent[1]["body"]


# The middleware


async def test_other_kinds_of_connections_pass_through(webhooks: Webhooks) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])
        assert "state" not in scope

    async def unused() -> NoReturn:
        raise AssertionError

    await WebhooksMiddleware(app, webhooks)({"type": "custom"}, unused, unused)  # type: ignore[arg-type]
    assert seen == ["custom"]


def test_a_response_need_not_wait_for_its_events(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings.model_copy(update={"flush_before_response": False}))
    with TestClient(make_app(webhooks)) as client:
        assert client.post("/emit", json={}, headers={"X-User": "acme"}).status_code == 200
    with TestClient(make_app(webhooks)) as client:
        assert len(client.get(f"{MOUNT}/events", headers=ACME).json()["events"]) == 1


class BreakingBackend(MemoryBackend):
    """A backend that cannot be closed."""

    def lifespan(self, event_types: Any) -> Any:
        return _breaking(super().lifespan(event_types))


class _breaking:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __aenter__(self) -> None:
        await self._inner.__aenter__()

    async def __aexit__(self, *details: Any) -> None:
        await self._inner.__aexit__(*details)
        raise BackendUnavailable("It cannot be closed.")


async def test_a_backend_that_cannot_be_closed_fails_the_shutdown(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings, backend=BreakingBackend(settings))
    sent: list[str] = []
    incoming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    with pytest.raises(BackendUnavailable):
        await make_app(webhooks)({"type": "lifespan", "asgi": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.failed"]


async def test_an_app_that_answers_nothing_to_the_lifespan_is_answered_by_nothing(webhooks: Webhooks) -> None:
    sent: list[Any] = []

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def send(message: Any) -> None:
        sent.append(message)

    await WebhooksMiddleware(silent, webhooks)({"type": "lifespan"}, send, send)  # type: ignore[arg-type]
    assert sent == []
