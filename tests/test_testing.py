"""The tools for hosts' tests: emitted events, the receiver, the clock, the memory backend, and the pytest plugin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from litestar import Litestar, post
from litestar.di import NamedDependency
from litestar.testing import TestClient as LitestarTestClient
from pydantic import BaseModel, Field
from starlette.testclient import TestClient

from starlette_webhooks import Emitter, EventType, NewEvent, UnknownEventType, Webhooks
from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.litestar import WebhooksPlugin
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.testing import Clock, EmittedEvents, MemoryBackend, Receiver, receiving, recording
from tests.hosts import EVENT_TYPES, MOUNT, bearer, make_app, make_webhooks
from tests.servers import ROOT

ACME = bearer("acme")


@pytest.fixture
def webhooks(settings: WebhooksSettings, webhook_clock: Clock) -> Webhooks:
    webhooks = make_webhooks(settings, backend=MemoryBackend(settings))
    webhook_clock.control(webhooks)
    return webhooks


@pytest.fixture
def client(webhooks: Webhooks, anyio_backend: str) -> Iterator[TestClient]:
    with TestClient(make_app(webhooks), backend=anyio_backend) as client:  # type: ignore[arg-type]
        yield client


def pay(client: TestClient, user: str = "acme", **data: Any) -> str:
    response = client.post("/emit", json=data, headers={"X-User": user})
    identifier: str = response.json()["id"]
    return identifier


# What was emitted


def test_an_event_is_found_by_its_type_tenant_and_part_of_its_data(
    client: TestClient, emitted_webhooks: EmittedEvents
) -> None:
    identifier = pay(client, amount=9900, customer={"name": "Ada", "tags": ["new", "vip"]})
    event = emitted_webhooks.assert_emitted("invoice.paid", tenant="acme", data={"customer": {"tags": ["new", "vip"]}})
    assert event.id == identifier
    assert len(emitted_webhooks) == 1
    emitted_webhooks.assert_not_emitted("invoice.paid", tenant="globex")


def test_nothing_emitted_passes_until_something_is(client: TestClient, emitted_webhooks: EmittedEvents) -> None:
    client.get("/nothing")
    emitted_webhooks.assert_nothing_emitted()
    pay(client)
    with pytest.raises(AssertionError, match=r"#1 invoice\.paid tenant='acme' \{\"amount\": 1\}"):
        emitted_webhooks.assert_nothing_emitted()
    emitted_webhooks.clear()
    emitted_webhooks.assert_nothing_emitted()


def test_the_message_shows_the_nearest_event_where_it_differs_and_all_that_was_emitted(
    client: TestClient, emitted_webhooks: EmittedEvents
) -> None:
    pay(client, user="globex", amount=100, lines=[{"price": 1}, {"price": 2}])
    pay(client, amount=5, lines=[{"price": 1}, {"price": 3}])
    with pytest.raises(AssertionError) as failure:
        emitted_webhooks.assert_emitted(
            "invoice.paid",
            tenant="acme",
            data={"amount": 9900, "lines": [{"price": 1}, {"price": 4}], "currency": "eur"},
        )
    assert str(failure.value).splitlines()[1:] == [
        "The closest is #2, which differs in:",
        "  data['amount']: expected 9900, was 5",
        "  data['lines'][1]['price']: expected 4, was 3",
        "  data['currency']: expected 'eur', is missing",
        "Emitted 2 events:",
        """  #1 invoice.paid tenant='globex' {"amount": 100, "lines": [{"price": 1}, {"price": 2}]}""",
        """  #2 invoice.paid tenant='acme' {"amount": 5, "lines": [{"price": 1}, {"price": 3}]}""",
    ]


def test_an_event_with_a_similar_name_is_shown_as_the_nearest(
    client: TestClient, emitted_webhooks: EmittedEvents
) -> None:
    pay(client)
    client.post(f"{MOUNT}/test", headers=ACME)
    with pytest.raises(AssertionError, match=r"closest is #1.*\n  type: expected 'invoice.payed', was 'invoice.paid'"):
        emitted_webhooks.assert_emitted("invoice.payed")


def test_with_nothing_emitted_the_message_says_so() -> None:
    with pytest.raises(AssertionError, match=r"`invoice\.paid` with tenant='7' was not emitted\.\nNothing was emitted"):
        EmittedEvents().assert_emitted("invoice.paid", tenant=7)


async def test_event_ids_channels_and_how_often_can_be_asserted(
    webhooks: Webhooks, emitted_webhooks: EmittedEvents
) -> None:
    async with webhooks.lifespan():
        emitter = webhooks.emitter("acme")
        await emitter.emit("invoice.paid", {}, event_id="one", channels=["b", "a"])
        await emitter.send("invoice.paid", {"ok": True})
        await emitter.emit_many([NewEvent("invoice.failed"), ("invoice.failed", {})])
    emitted_webhooks.assert_emitted("invoice.paid", event_id="one", channels=["a", "b"], times=1)
    emitted_webhooks.assert_emitted("invoice.failed", times=2)
    with pytest.raises(AssertionError, match="was emitted 2 times, not 1 time"):
        emitted_webhooks.assert_emitted("invoice.paid", times=1)
    with pytest.raises(AssertionError, match="event_id: expected 'two', was 'one'"):
        emitted_webhooks.assert_emitted("invoice.paid", event_id="two", channels=["a", "b"])
    with pytest.raises(AssertionError, match="channels: expected"):
        emitted_webhooks.assert_emitted("invoice.paid", event_id="one", channels=[])
    with pytest.raises(AssertionError, match="expected 1, was True"):
        emitted_webhooks.assert_emitted("invoice.paid", data={"ok": 1})
    with pytest.raises(AssertionError, match="was emitted 1 time"):
        emitted_webhooks.assert_not_emitted("invoice.paid", data={"ok": True})
    with pytest.raises(ValueError, match="assert_not_emitted"):
        emitted_webhooks.assert_emitted("invoice.paid", times=0)


async def test_it_records_on_any_backend_and_only_inside_its_block(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings)
    async with webhooks.lifespan():
        with recording() as events:
            await webhooks.emitter("acme").emit("invoice.paid", {})
        await webhooks.emitter("acme").emit("invoice.failed", {})
    assert [event.type for event in events] == ["invoice.paid"]
    assert "1 event" in repr(events)
    assert events[0].tenant == "acme"


async def test_refused_events_are_not_recorded(webhooks: Webhooks, emitted_webhooks: EmittedEvents) -> None:
    async with webhooks.lifespan():
        with pytest.raises(ValueError):
            webhooks.emitter("acme").emit("invoice.payed", {})
    emitted_webhooks.assert_nothing_emitted()


class InvoicePaid(BaseModel):
    amount: int
    paid_at: datetime | None = Field(default=None, alias="paidAt")


class Unbound(BaseModel):
    amount: int


async def test_a_class_that_is_the_schema_of_a_type_means_that_type(
    settings: WebhooksSettings, emitted_webhooks: EmittedEvents
) -> None:
    other = Webhooks(event_types=["a.b"], backend=MemoryBackend(settings))
    webhooks = Webhooks(event_types=[EventType("invoice.paid", schema=InvoicePaid)], backend=MemoryBackend(settings))
    async with other.lifespan(), webhooks.lifespan():
        other.emitter("acme").emit("a.b", {})
        event = webhooks.emitter("acme").emit(InvoicePaid(amount=5, paidAt=datetime(2026, 11, 23, tzinfo=UTC))).event
    assert emitted_webhooks.assert_emitted(InvoicePaid) is event
    assert emitted_webhooks.assert_emitted(InvoicePaid, data={"amount": 5}) is event
    assert emitted_webhooks.assert_emitted(InvoicePaid(amount=5, paidAt=datetime(2026, 11, 23, tzinfo=UTC))) is event
    with pytest.raises(AssertionError, match=r"`invoice\.paid` with data=(.|\n)*data\['amount'\]: expected 6, was 5"):
        emitted_webhooks.assert_emitted(InvoicePaid(amount=6))
    with pytest.raises(AssertionError, match=r"`invoice\.paid` was emitted 1 time"):
        emitted_webhooks.assert_not_emitted(InvoicePaid)
    with pytest.raises(UnknownEventType, match="No event type is bound to `Unbound`"):
        emitted_webhooks.assert_not_emitted(Unbound)
    with pytest.raises(TypeError, match="not both"):
        emitted_webhooks.assert_emitted(InvoicePaid(amount=5), data={"amount": 5})
    with pytest.raises(TypeError, match="a name, a class or an instance"):
        emitted_webhooks.assert_emitted(7)  # type: ignore[arg-type]


def test_a_class_is_not_emitted_where_nothing_is(emitted_webhooks: EmittedEvents) -> None:
    emitted_webhooks.assert_not_emitted(InvoicePaid)
    with pytest.raises(AssertionError, match=r"`InvoicePaid` was not emitted\.\nNothing was emitted"):
        emitted_webhooks.assert_emitted(InvoicePaid)


# The three kinds of clients


async def test_an_async_client_works_inside_the_lifespan(webhooks: Webhooks, emitted_webhooks: EmittedEvents) -> None:
    transport = httpx2.ASGITransport(app=make_app(webhooks))
    async with webhooks.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post("/emit", json={"amount": 3}, headers={"X-User": "acme"})
        assert emitted_webhooks.assert_emitted("invoice.paid", data={"amount": 3}).id == response.json()["id"]
        listed = await client.get(f"{MOUNT}/events", headers=ACME)
        assert [event["id"] for event in listed.json()["events"]] == [response.json()["id"]]


def test_the_client_of_litestar_works(
    webhooks: Webhooks, emitted_webhooks: EmittedEvents, webhook_receiver: Receiver
) -> None:
    @post("/pay", sync_to_thread=False)
    def pay(webhooks: NamedDependency[Emitter]) -> None:
        webhooks.emit("invoice.paid", {"amount": 4}, tenant="acme")

    with LitestarTestClient(Litestar([pay], plugins=[WebhooksPlugin(webhooks, MOUNT)])) as client:
        client.post(f"{MOUNT}/endpoints", json=webhook_receiver.endpoint, headers=ACME)
        assert client.post("/pay").status_code == 201
        emitted_webhooks.assert_emitted("invoice.paid", tenant="acme", data={"amount": 4})
        assert webhook_receiver.wait_for()[0].data == {"amount": 4}


# The receiver and the clock


def test_the_receiver_gets_signed_deliveries(client: TestClient, webhook_receiver: Receiver) -> None:
    assert client.post(f"{MOUNT}/endpoints", json=webhook_receiver.endpoint, headers=ACME).status_code == 201
    identifier = pay(client, amount=9900)
    (delivery,) = webhook_receiver.wait_for()
    assert (delivery.id, delivery.event_type, delivery.data) == (identifier, "invoice.paid", {"amount": 9900})
    assert (delivery.number, delivery.status) == (1, 204)
    assert delivery.headers["content-type"] == "application/json"
    webhook_receiver.clear()
    assert webhook_receiver.deliveries == []


def test_the_receiver_refuses_what_is_not_signed_with_its_secret(webhook_receiver: Receiver) -> None:
    assert httpx.post(webhook_receiver.url, content=b"{}").status_code == 400
    with pytest.raises(AssertionError, match=r"Expected 1 deliveries, received(.|\n)*rejected: `webhook-id`"):
        webhook_receiver.wait_for()
    assert webhook_receiver.deliveries == []


def test_a_timeout_shows_what_arrived(client: TestClient, webhook_receiver: Receiver) -> None:
    client.post(f"{MOUNT}/endpoints", json=webhook_receiver.endpoint, headers=ACME)
    identifier = pay(client)
    webhook_receiver.wait_for()
    with pytest.raises(AssertionError, match=f"Expected 2 deliveries, received 1.\n  invoice.paid {identifier}"):
        webhook_receiver.wait_for(2, timeout=0.05)


def test_the_whole_retry_schedule_runs_when_the_clock_is_set_forward(
    client: TestClient, webhook_receiver: Receiver, webhook_clock: Clock, settings: WebhooksSettings
) -> None:
    webhook_receiver.fail()
    client.post(f"{MOUNT}/endpoints", json=webhook_receiver.endpoint, headers=ACME)
    identifier = pay(client)
    for number, delay in enumerate(settings.retry_schedule, 1):
        webhook_clock.advance(delay)
        delivery = webhook_receiver.wait_for(number)[-1]
        assert (delivery.id, delivery.number, delivery.status) == (identifier, number, 500)
    webhook_clock.advance(0)
    attempts = client.get(f"{MOUNT}/events/{identifier}/attempts", headers=ACME).json()["attempts"]
    assert [attempt["number"] for attempt in attempts] == list(range(10, 0, -1))
    assert attempts[0]["nextAttemptAt"] is None


def test_a_retry_is_not_made_before_its_time(
    client: TestClient, webhook_receiver: Receiver, webhook_clock: Clock
) -> None:
    webhook_receiver.fail(1, status=503, headers={"Retry-After": "60"})
    client.post(f"{MOUNT}/endpoints", json=webhook_receiver.endpoint, headers=ACME)
    pay(client)
    webhook_receiver.wait_for()
    webhook_clock.advance(30)
    with pytest.raises(AssertionError):
        webhook_receiver.wait_for(2, timeout=0.2)
    webhook_clock.advance(30)
    assert [each.status for each in webhook_receiver.wait_for(2)] == [503, 204]


def test_a_failing_receiver_can_be_made_to_succeed(
    client: TestClient, webhook_receiver: Receiver, webhook_clock: Clock
) -> None:
    webhook_receiver.fail()
    client.post(f"{MOUNT}/endpoints", json=webhook_receiver.endpoint, headers=ACME)
    pay(client)
    webhook_receiver.wait_for()
    webhook_receiver.succeed()
    webhook_clock.advance(5)
    assert [each.status for each in webhook_receiver.wait_for(2)] == [500, 204]


async def test_in_async_code_the_clock_sleeps_and_the_receiver_is_awaited(
    webhooks: Webhooks, webhook_receiver: Receiver, webhook_clock: Clock
) -> None:
    webhook_receiver.fail(1)
    async with webhooks.lifespan():
        changes = EndpointChanges(url=webhook_receiver.url, secret=webhook_receiver.secret)
        await webhooks.backend.create_endpoint("acme", changes)
        await webhooks.emitter("acme").emit("invoice.paid", {})
        await webhook_receiver.received()
        with pytest.raises(RuntimeError, match="await clock.sleep"):
            webhook_clock.advance(5)
        await webhook_clock.sleep(5)
        assert [each.number for each in await webhook_receiver.received(2)] == [1, 2]


async def test_a_clock_must_be_set_before_it_runs(webhooks: Webhooks, webhook_clock: Clock) -> None:
    async with webhooks.lifespan():
        with pytest.raises(RuntimeError, match="before the app starts"):
            webhook_clock.control(webhooks)


def test_tickets_expire_by_the_clock(client: TestClient, webhook_clock: Clock) -> None:
    ticket = client.post(f"{MOUNT}/events/stream/ticket", headers=ACME).json()["ticket"]
    webhook_clock.advance(3601)
    # A browser's `EventSource` would give up permanently on any other status.
    refused = client.get(f"{MOUNT}/events/stream", params={"ticket": ticket})
    assert refused.status_code == 200
    assert "ticket_expired" in refused.text


# The backend in memory


async def test_the_memory_backend_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, webhook_receiver: Receiver
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = MemoryBackend(deliver=False)
    webhooks = Webhooks(event_types=EVENT_TYPES, backend=backend)
    for _ in range(2):
        async with webhooks.lifespan():
            await webhooks.emitter("acme").emit("invoice.paid", {})
    assert [event.type for event in backend.events] == ["invoice.paid"] * 2
    assert os.listdir(tmp_path) == []


def test_it_is_the_sqlite_backend() -> None:
    backend = MemoryBackend()
    assert isinstance(backend, SQLiteBackend)
    assert (backend.name, backend.health()["status"]) == ("memory", "stopped")


# The plugin


def test_the_plugin_loads_nothing_that_a_test_run_does_not_use(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n"
        "def test_it():\n"
        "    heavy = ('pydantic', 'svix', 'fastapi', 'litestar', 'starlette_webhooks.backends.sqlite')\n"
        "    assert 'starlette_webhooks.testing.plugin' in sys.modules\n"
        "    assert [name for name in heavy if name in sys.modules] == []\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:schemathesis",
        "-p",
        "no:xdist",
        "-p",
        "no:hypothesispytest",
    ]
    run = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout


def test_the_tests_of_the_documentation_pass(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "test-your-app.md").read_text()
    (tmp_path / "test_page.py").write_text(
        "\n".join(re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:schemathesis",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
    ]
    run = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    # Six tests. The async one runs on asyncio and trio.
    assert run.stdout.splitlines()[-1].startswith("7 passed"), run.stdout
    assert [name for name in os.listdir(tmp_path) if name != "__pycache__"] == ["test_page.py"]


def test_the_receiver_ends_with_its_block() -> None:
    with receiving() as receiver:
        url = receiver.url
    with pytest.raises(httpx.ConnectError):
        httpx.post(url)
