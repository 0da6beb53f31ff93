"""Emitting: what is stored, what is refused and how, from everywhere in a host."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from anyio import to_thread
from pydantic import BaseModel, Field
from starlette.testclient import TestClient

from starlette_webhooks import (
    EventType,
    InvalidEvent,
    NewEvent,
    NotRunning,
    TenantRequired,
    UnknownEventType,
    Webhooks,
    get_emitter,
)
from starlette_webhooks.emissions import Pending
from starlette_webhooks.events import EventQuery
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.stores.sqlite.insertion import Inserted
from tests.hosts import MOUNT, bearer, make_app, make_webhooks
from tests.settings import make_settings


class InvoicePaid(BaseModel):
    amount: int = Field(ge=0)
    paid_at: datetime | None = Field(default=None, alias="paidAt")


async def stored(webhooks: Webhooks, tenant: str = "acme") -> list[tuple[str, Any]]:
    page = await webhooks.backend.list_events(tenant, EventQuery(limit=250))
    return [(event.type, event.data) for event in reversed(page.items)]


async def test_an_awaited_emission_is_in_the_log_as_it_was_given(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        event = await webhooks.emitter("acme").emit("invoice.paid", {"amount": 9900, "note": "größer ✓"})
        assert event.data == {"amount": 9900, "note": "größer ✓"}
        assert await webhooks.backend.get_event("acme", event.id) == event


async def test_events_of_one_emitter_keep_their_order_in_the_list(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        emitter = webhooks.emitter("acme")
        for number in range(50):
            emission = emitter.emit("invoice.paid", {"n": number})
        await emission
        assert [data["n"] for _, data in await stored(webhooks)] == list(range(50))


async def test_the_same_event_id_gives_the_first_event_again_for_this_tenant_only(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        emitter = webhooks.emitter("acme")
        first = await emitter.emit("invoice.paid", {"n": 1}, event_id="order-1")
        second = await emitter.emit("invoice.paid", {"n": 2}, event_id="order-1")
        other = await emitter.for_tenant("globex").emit("invoice.paid", {"n": 3}, event_id="order-1")
        assert second == first
        assert other.id != first.id
        assert await stored(webhooks) == [("invoice.paid", {"n": 1})]


async def test_one_event_id_twice_in_one_commit_is_stored_once(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        emitter = webhooks.emitter("acme")
        one, two = (emitter.emit("invoice.paid", {"n": n}, event_id="same") for n in (1, 2))
        assert (await one).id == (await two).id


async def test_emit_many_stores_all_in_one_commit(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings, event_types=["a.b", EventType("invoice.paid", schema=InvoicePaid)])
    commits: list[int] = []
    async with webhooks.lifespan():
        webhooks.backend.store.database.on_commit.append(  # type: ignore[attr-defined]
            lambda writes: commits.append(sum(isinstance(write.result, Inserted) for write in writes))
        )
        emissions = webhooks.emitter("acme").emit_many(
            [("a.b", {"n": 1}), NewEvent("a.b", {"n": 2}, event_id="two", channels=["x"]), InvoicePaid(amount=3)]
        )
        events = await emissions
        assert [count for count in commits if count] == [1]
        assert [event.id for event in events] == [event.id for event in emissions.events]
        assert await stored(webhooks) == [
            ("a.b", {"n": 1}),
            ("a.b", {"n": 2}),
            ("invoice.paid", {"amount": 3, "paidAt": None}),
        ]


async def test_emit_many_stores_all_events_or_none(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        with pytest.raises(UnknownEventType):
            webhooks.emitter("acme").emit_many([("invoice.paid", {}), ("nope", {})])
        assert await stored(webhooks) == []


async def test_send_returns_the_stored_event(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        event = await webhooks.emitter().send("invoice.paid", {"n": 1}, tenant=UUID(int=7), channels=["eu"])
        assert event.tenant == "00000000-0000-0000-0000-000000000007"
        assert event.channels == ("eu",)
        assert await webhooks.backend.get_event(event.tenant, event.id) == event


async def test_a_model_is_an_event_of_the_type_it_is_bound_to(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings, event_types=[EventType("invoice.paid", schema=InvoicePaid)])
    async with webhooks.lifespan():
        emitter = webhooks.emitter("acme")
        moment = datetime(2026, 11, 23, tzinfo=UTC)
        event = await emitter.emit(InvoicePaid(amount=5, paidAt=moment))
        assert (event.type, event.data) == ("invoice.paid", {"amount": 5, "paidAt": "2026-11-23T00:00:00Z"})
        assert (await emitter.emit("invoice.paid", {"amount": 6})).data == {"amount": 6, "paidAt": None}
        with pytest.raises(InvalidEvent, match="amount"):
            emitter.emit("invoice.paid", {"amount": -1})
        with pytest.raises(InvalidEvent, match="not both"):
            emitter.emit(InvoicePaid(amount=5), {"amount": 6})  # type: ignore[call-overload]


class Unbound(BaseModel):
    name: str


def circle() -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["self"] = data
    return data


def deep() -> dict[str, Any]:
    data: dict[str, Any] = {}
    for _ in range(5000):
        data = {"in": data}
    return data


@pytest.mark.parametrize(
    ("event_type", "data", "options", "error", "remedy"),
    [
        ("invoice.payd", {}, {}, UnknownEventType, r"Did you mean `invoice\.paid`\?.*EventType\('invoice\.payd'\)"),
        (Unbound(name="x"), None, {}, UnknownEventType, r"schema=Unbound"),
        (7, {}, {}, InvalidEvent, "must be a name, or an instance"),
        ("document.created", {}, {}, InvalidEvent, '"title" is a required property'),
        ("invoice.paid", [1], {}, InvalidEvent, "must be a dict, not list"),
        ("invoice.paid", {"x": math.nan}, {}, InvalidEvent, "None or a string for NaN"),
        ("invoice.paid", {"x": math.inf}, {}, InvalidEvent, "None or a string for NaN"),
        ("invoice.paid", {"x": b"raw"}, {}, InvalidEvent, "bytes is not JSON serializable.*Convert it first"),
        ("invoice.paid", {"x": {1, 2}}, {}, InvalidEvent, "set is not JSON serializable"),
        ("invoice.paid", {"x": [{"y": {1: 2}}]}, {}, InvalidEvent, "the key 1.*Use `'1'`"),
        ("invoice.paid", {None: 2}, {}, InvalidEvent, "the key None"),
        ("invoice.paid", {"x": "\ud800"}, {}, InvalidEvent, "lone surrogates"),
        ("invoice.paid", circle(), {}, InvalidEvent, "nested too deeply, or contains itself|Circular"),
        ("invoice.paid", deep(), {}, InvalidEvent, "nested too deeply"),
        ("invoice.paid", {"x": "y" * 2000}, {}, InvalidEvent, "WEBHOOKS_MAX_EVENT_BYTES"),
        ("invoice.paid", {}, {"event_id": "msg_1"}, InvalidEvent, "not beginning with `msg_`"),
        ("invoice.paid", {}, {"event_id": "a b"}, InvalidEvent, "not a valid `event_id`"),
        ("invoice.paid", {}, {"event_id": 7}, InvalidEvent, "not a valid `event_id`"),
        ("invoice.paid", {}, {"channels": "eu"}, InvalidEvent, r"channels=\['eu'\]"),
        ("invoice.paid", {}, {"channels": ["a", "b", "c", "d", "e", "f"]}, InvalidEvent, "5 channels at most"),
        ("invoice.paid", {}, {"channels": ["a b"]}, InvalidEvent, "not a valid channel"),
        ("invoice.paid", {}, {"tenant": ""}, TenantRequired, "1 to 256 printable"),
        ("invoice.paid", {}, {"tenant": True}, TenantRequired, "1 to 256 printable"),
        ("invoice.paid", {}, {"tenant": "a\nb"}, TenantRequired, "1 to 256 printable"),
    ],
)
async def test_a_mistake_raises_at_the_call_with_the_remedy_and_stores_nothing(
    tmp_path: Path, event_type: Any, data: Any, options: dict[str, Any], error: type[Exception], remedy: str
) -> None:
    webhooks = make_webhooks(make_settings(tmp_path, max_event_bytes=1024))
    async with webhooks.lifespan():
        with pytest.raises(error, match=remedy):
            webhooks.emitter("acme").emit(event_type, data, **options)
        assert await stored(webhooks) == []


def test_without_a_lifespan_emitting_says_what_to_add(settings: WebhooksSettings) -> None:
    with pytest.raises(NotRunning, match="WebhooksMiddleware"):
        make_webhooks(settings).emitter("acme").emit("invoice.paid", {})


async def test_without_a_tenant_emitting_says_how_to_give_one(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        with pytest.raises(TenantRequired, match="for_tenant"):
            webhooks.emitter().emit("invoice.paid", {})


def test_without_the_middleware_the_emitter_says_what_to_install() -> None:
    class Bare:
        scope: dict[str, Any] = {"type": "http"}

    with pytest.raises(NotRunning, match="WebhooksMiddleware"):
        get_emitter(Bare())


async def test_concurrent_emits_of_threads_lose_nothing(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        emitter = webhooks.emitter("acme")

        def work(worker: int) -> None:
            for number in range(50):
                emitter.emit("invoice.paid", {"worker": worker, "n": number})

        async with anyio.create_task_group() as tasks:
            for worker in range(4):
                tasks.start_soon(to_thread.run_sync, work, worker)
        await emitter.emit("invoice.paid", {})
        assert len(await stored(webhooks)) == 201


@pytest.fixture
def client(settings: WebhooksSettings, anyio_backend: str) -> Iterator[TestClient]:
    app = make_app(make_webhooks(settings))
    with TestClient(app, backend=anyio_backend, raise_server_exceptions=False) as client:  # type: ignore[arg-type]
        yield client


def listed(client: TestClient) -> list[dict[str, Any]]:
    response = client.get(f"{MOUNT}/events", headers=bearer("acme"))
    assert response.status_code == 200, response.text
    events: list[dict[str, Any]] = response.json()["events"]
    return events


@pytest.mark.parametrize("path", ["/emit", "/emit-and-wait", "/emit-in-thread"])
def test_an_event_is_listed_once_its_response_has_come(client: TestClient, path: str) -> None:
    response = client.post(path, json={}, headers={"X-User": "acme"})
    assert [event["id"] for event in listed(client)] == [response.json()["id"]]


def test_an_event_of_a_background_task_is_listed(client: TestClient) -> None:
    client.post("/emit-in-background", headers={"X-User": "acme"})
    assert [event["payload"]["data"] for event in listed(client)] == [{"from": "background"}]


def test_an_event_emitted_while_the_body_is_streamed_is_durable_before_the_client_sees_its_id(
    client: TestClient,
) -> None:
    with client.stream("POST", "/emit-while-streaming", headers={"X-User": "acme"}) as response:
        body = response.read().decode()
    assert [event["id"] for event in listed(client)] == [body.removeprefix("start")]


def test_an_event_is_kept_when_the_host_fails_after_it(client: TestClient) -> None:
    assert client.post("/emit-then-fail", headers={"X-User": "acme"}).status_code == 500
    assert [event["eventType"] for event in listed(client)] == ["invoice.failed"]


def test_a_websocket_emits(client: TestClient) -> None:
    with client.websocket_connect("/socket", headers={"X-User": "acme"}) as websocket:
        websocket.send_json({"n": 1})
        answered = websocket.receive_json()["id"]
        assert [event["id"] for event in listed(client)] == [answered]


def test_a_request_without_a_tenant_cannot_emit_and_says_why(settings: WebhooksSettings) -> None:
    app = make_app(make_webhooks(settings))
    with TestClient(app) as client, pytest.raises(TenantRequired, match="nobody is signed in.*401"):
        client.post("/emit", json={})


def resolvers() -> list[Callable[..., Any]]:
    return [lambda connection: connection.headers.get("x-team")]


@pytest.mark.parametrize("resolver", resolvers())
def test_the_hosts_own_resolver_determines_the_tenant(settings: WebhooksSettings, resolver: Callable[..., Any]) -> None:
    app = make_app(make_webhooks(settings, tenant=resolver))
    with TestClient(app) as client:
        client.post("/emit", json={}, headers={"X-User": "someone", "X-Team": "acme"})
        assert len(listed(client)) == 1


async def test_an_event_id_that_was_minted_finds_its_event_again(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        emitter = webhooks.emitter("acme")
        first = await emitter.emit("invoice.paid", {"n": 1})
        assert await emitter.emit("invoice.paid", {"n": 2}, event_id=first.event_id) == first
        assert len(await stored(webhooks)) == 1


async def test_a_connection_that_emits_forever_keeps_a_bounded_list_of_events(
    settings: WebhooksSettings,
) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        pending = Pending()
        emitter = webhooks.request_emitter({"type": "websocket"}, pending).for_tenant("acme")
        for _ in range(600):
            await emitter.emit("invoice.paid", {})
        assert 0 < len(pending) <= 256
        await emitter.flush()
        assert len(pending) == 0
