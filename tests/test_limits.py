"""The limits of a tenant's calls, which do not affect other tenants."""

from __future__ import annotations

from collections import Counter

import anyio
import httpx
import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Scope

from starlette_webhooks.event_types import EventTypes, SyncResult
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import TooManyRequests
from starlette_webhooks.feed import Listener
from starlette_webhooks.identifiers import mint
from starlette_webhooks.routes.limits import DailyQuota, OpenedSessions, RequestedDeliveries, TenantLimits
from starlette_webhooks.routes.services import CatalogRegistration
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.streams import StreamHub
from starlette_webhooks.testing import MemoryBackend
from starlette_webhooks.undelivered import UndeliveredCount, UndeliveredQuery
from tests.clock import Clock
from tests.eventually import eventually
from tests.hosts import MOUNT, bearer, make_app, make_webhooks
from tests.settings import make_settings

ACME, GLOBEX = bearer("acme"), bearer("globex")


def call(limits: TenantLimits, tenant: str = "acme") -> int | None:
    """Return None for an accepted call, or the seconds to wait."""
    try:
        with limits.admit(tenant):
            return None
    except TooManyRequests as exc:
        return int(exc.headers["Retry-After"])


def test_after_a_burst_calls_come_at_the_rate_that_is_allowed() -> None:
    clock = Clock(speed=0)
    limits = TenantLimits(per_second=2, burst=4, in_flight=0, clock=clock)
    assert [call(limits) for _ in range(6)] == [None] * 4 + [1, 1]
    clock.advance(0.5)
    assert [call(limits) for _ in range(2)] == [None, 1]
    clock.advance(3600)
    assert [call(limits) for _ in range(5)] == [None] * 4 + [1]


def test_a_slow_rate_says_how_long_to_wait() -> None:
    limits = TenantLimits(per_second=0.1, burst=1, in_flight=0, clock=Clock(speed=0))
    assert [call(limits), call(limits)] == [None, 10]


def test_a_tenant_over_its_limit_costs_others_nothing() -> None:
    limits = TenantLimits(per_second=1, burst=1, in_flight=1, clock=Clock(speed=0))
    with limits.admit("acme"):
        assert call(limits) == 1
        assert call(limits, "globex") is None


def test_calls_in_flight_are_counted_until_they_end_in_any_way() -> None:
    limits = TenantLimits(per_second=0, burst=1, in_flight=1)
    for _ in range(3):
        with pytest.raises(LookupError), limits.admit("acme"):
            assert call(limits) == 1
            raise LookupError
    assert call(limits) is None


def test_zero_means_no_limit() -> None:
    limits = TenantLimits(per_second=0, burst=1, in_flight=0, clock=Clock(speed=0))
    with limits.admit("acme"), limits.admit("acme"):
        assert [call(limits) for _ in range(1000)] == [None] * 1000


def test_a_call_over_the_limit_is_429_on_every_route_and_others_are_served(settings: WebhooksSettings) -> None:
    limited = settings.model_copy(update={"calls_per_second": 0.001, "calls_burst": 3})
    with TestClient(make_app(make_webhooks(limited)), base_url="http://testserver" + MOUNT) as client:
        for path in ("/events", "/endpoints", "/event-types"):
            assert client.get(path, headers=ACME).status_code == 200
        for method, path in (("GET", "/events"), ("POST", "/test"), ("GET", "/events/stream"), ("POST", "/portal")):
            refused = client.request(method, path, headers=ACME)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
            assert int(refused.headers["retry-after"]) > 0
        assert client.get("/events", headers=GLOBEX).status_code == 200
        # Unknown callers get 401.
        assert client.get("/events", headers=bearer("wrong")).status_code == 401
        assert client.get("/openapi.json").status_code == 200


class SlowCall:
    """A call whose body does not end until it is told to."""

    def __init__(self, key: str) -> None:
        headers = [(b"authorization", f"Bearer {key}".encode()), (b"host", b"testserver")]
        self.scope: Scope = {"type": "http", "method": "POST", "path": "/test", "query_string": b"", "headers": headers}
        self.reading, self.end = anyio.Event(), anyio.Event()
        self.status = 0
        self.headers: dict[bytes, bytes] = {}

    async def receive(self) -> Message:
        if not self.reading.is_set():
            self.reading.set()
            return {"type": "http.request", "body": b"{", "more_body": True}
        await self.end.wait()
        return {"type": "http.request", "body": b"}", "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])


def test_a_large_call_counts_as_several() -> None:
    clock = Clock(speed=0)
    limits = TenantLimits(per_second=10, burst=20, in_flight=0, clock=clock)
    limits.charge("acme", 15)
    with pytest.raises(TooManyRequests):
        limits.charge("acme", 6)
    clock.advance(60)
    limits.charge("acme", 1000)
    assert call(limits) == 1
    assert call(limits, "globex") is None


def test_an_endpoint_with_a_thousand_subscriptions_counts_as_a_hundred_calls(settings: WebhooksSettings) -> None:
    limited = settings.model_copy(update={"calls_per_second": 0.1, "calls_burst": 210, "deliver": False})
    names = [f"type.n{number}" for number in range(100)]
    webhooks = make_webhooks(limited, event_types=names)
    full = {"url": "https://hooks.example.com/", "eventTypes": names, "channels": [str(number) for number in range(10)]}
    with TestClient(make_app(webhooks), base_url="http://testserver" + MOUNT) as client:
        made = client.post("/endpoints", json=full, headers=ACME)
        assert made.status_code == 201
        path = f"/endpoints/{made.json()['id']}"
        assert [client.patch(path, json=full, headers=ACME).status_code for _ in range(2)] == [200, 429]
        assert client.patch(path, json={"description": "small"}, headers=ACME).status_code == 200
        attempts = f"{path}/attempts?status_code_class=5"
        assert client.get(attempts, headers=ACME).status_code == 429


async def test_calls_in_flight_of_a_tenant_are_limited(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings.model_copy(update={"calls_in_flight": 2}))
    calls = [SlowCall("acme") for _ in range(2)]
    async with webhooks.lifespan(), anyio.create_task_group() as tasks:
        for slow in calls:
            tasks.start_soon(webhooks, slow.scope, slow.receive, slow.send)
            await slow.reading.wait()
        refused, others, later = SlowCall("acme"), SlowCall("globex"), SlowCall("acme")
        for other in (others, later):
            other.end.set()
        await webhooks(refused.scope, refused.receive, refused.send)
        assert refused.status == 429
        await webhooks(others.scope, others.receive, others.send)
        assert others.status == 202
        for slow in calls:
            slow.end.set()
    async with webhooks.lifespan():
        await webhooks(later.scope, later.receive, later.send)
    assert [slow.status for slow in (*calls, later)] == [202, 202, 202]


async def test_a_body_that_never_ends_is_given_up(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings.model_copy(update={"body_timeout": 0.1}))
    slow = SlowCall("acme")
    async with webhooks.lifespan():
        with anyio.fail_after(10):
            await webhooks(slow.scope, slow.receive, slow.send)
    assert (slow.status, slow.headers[b"connection"]) == (408, b"close")


def charge(quota: DailyQuota, size: int, tenant: str = "acme") -> int:
    """Return 0 for an event that may be stored, or the seconds to wait."""
    try:
        quota.take(tenant, size)
    except TooManyRequests as exc:
        return int(exc.headers["Retry-After"])
    return 0


def test_the_quota_of_test_events_fills_again_over_a_day() -> None:
    clock = Clock(speed=0)
    quota = DailyQuota(10_240, clock=clock)
    # Each event counts 512 bytes more than its payload, for its rows.
    assert [charge(quota, 512) for _ in range(10)] == [0] * 10
    assert charge(quota, 512) == 8640
    assert charge(quota, 512, "globex") == 0
    clock.advance(8640)
    assert [charge(quota, 512), charge(quota, 512)] == [0, 8640]


def test_test_events_beyond_the_quota_are_429_and_not_stored(settings: WebhooksSettings) -> None:
    limited = settings.model_copy(update={"test_bytes_per_day": 1500, "deliver": False})
    with TestClient(make_app(make_webhooks(limited)), base_url="http://testserver" + MOUNT) as client:
        endpoint = client.post("/endpoints", json={"url": "https://hooks.example.com/"}, headers=ACME).json()["id"]
        assert client.post("/test", headers=ACME).status_code == 202
        assert client.post(f"/endpoints/{endpoint}/test", headers=ACME).status_code == 202
        for path in ("/test", f"/endpoints/{endpoint}/test"):
            refused = client.post(path, headers=ACME)
            assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
            assert int(refused.headers["retry-after"]) > 60
        assert client.post("/test", headers=GLOBEX).status_code == 202
        assert len(client.get("/events", headers=ACME).json()["events"]) == 2


def test_tests_and_resends_are_limited_for_each_endpoint_and_minute() -> None:
    clock = Clock(speed=0)
    requested = RequestedDeliveries(10, 5, clock=clock)

    def take(tenant: str, endpoint: str) -> int:
        try:
            requested.take(tenant, endpoint)
        except TooManyRequests as exc:
            return int(exc.headers["Retry-After"])
        return 0

    assert [take("acme", "ep_1") for _ in range(12)] == [0] * 10 + [6, 6]
    assert take("acme", "ep_2") == take("globex", "ep_1") == take("acme", "") == 0
    clock.advance(6)
    assert [take("acme", "ep_1") for _ in range(2)] == [0, 6]
    clock.advance(60)
    assert [take("acme", f"ep_{number}") for number in range(101)] == [0] * 100 + [1], "a tenant has ten times as many"
    assert take("globex", "ep_1") == 0


def test_what_the_limit_of_a_tenant_refuses_does_not_count_for_the_endpoint() -> None:
    clock = Clock(speed=0)
    requested = RequestedDeliveries(1, 5, clock=clock)
    for number in range(10):
        requested.take("acme", f"ep_{number}")
    for _ in range(3):
        with pytest.raises(TooManyRequests, match="More than 10 tests"):
            requested.take("acme", "ep_new")
    # A tenth of a minute later the tenant may ask again, and this endpoint was not tested yet.
    clock.advance(6)
    requested.take("acme", "ep_new")
    with pytest.raises(TooManyRequests, match="More than 1 tests"):
        requested.take("acme", "ep_new")


def test_a_tenant_opens_a_limited_number_of_portal_sessions() -> None:
    clock = Clock(speed=0)
    opened = OpenedSessions(most=2, every=10, clock=clock)

    def take(tenant: str) -> int:
        try:
            opened.take(tenant)
        except TooManyRequests as exc:
            return int(exc.headers["Retry-After"])
        return 0

    assert [take("acme") for _ in range(3)] == [0, 0, 10]
    assert take("globex") == 0
    clock.advance(10)
    assert [take("acme") for _ in range(2)] == [0, 10]


def test_what_may_look_at_all_deliveries_counts_as_several_calls(settings: WebhooksSettings) -> None:
    limited = settings.model_copy(update={"calls_per_second": 0.001, "calls_burst": 30})
    with TestClient(make_app(make_webhooks(limited)), base_url="http://testserver" + MOUNT) as client:
        assert client.get("/undelivered", headers=ACME).status_code == 200
        counted = client.post("/undelivered/retry", json={"countOnly": True}, headers=ACME)
        assert (counted.status_code, counted.json()["matching"]) == (202, 0)
        assert client.get("/undelivered", headers=ACME).status_code == 200
        assert client.get("/undelivered", headers=ACME).status_code == 429
        assert client.post("/undelivered/retry", json={}, headers=ACME).status_code == 429
        assert client.get("/undelivered", headers=GLOBEX).status_code == 200


def test_a_large_body_counts_as_several_calls(settings: WebhooksSettings) -> None:
    limited = settings.model_copy(update={"calls_per_second": 0.001, "calls_burst": 42, "deliver": False})
    # 80 KB.
    large = {"url": "https://hooks.example.com/", "headers": {f"x-{number}": "x" * 4000 for number in range(20)}}
    wrong = {f"field-{number}": 1 for number in range(5000)}
    with TestClient(make_app(make_webhooks(limited)), base_url="http://testserver" + MOUNT) as client:
        made = client.post("/endpoints", json=large, headers=ACME)
        assert made.status_code == 201
        path = f"/endpoints/{made.json()['id']}"
        assert [client.patch(path, json=large, headers=ACME).status_code for _ in range(2)] == [200, 200]
        assert client.patch(path, json=wrong, headers=ACME).status_code == 422
        assert client.patch(path, json=wrong, headers=ACME).status_code == 429
        assert client.patch(path, json={"description": "small"}, headers=ACME).status_code == 200
        assert client.post("/endpoints", json=large, headers=GLOBEX).status_code == 201


def test_a_stream_that_reads_the_log_counts_as_several_calls(settings: WebhooksSettings) -> None:
    limited = settings.model_copy(update={"calls_per_second": 0.001, "calls_burst": 12})
    with TestClient(make_app(make_webhooks(limited)), base_url="http://testserver" + MOUNT) as client:

        def opened(last: str) -> int:
            return client.head("/events/stream", headers={**ACME, "Last-Event-ID": last}).status_code

        assert [opened("msg_" + "0" * 27) for _ in range(3)] == [200, 200, 429]
        assert [opened("") for _ in range(2)] == [200, 429]
        assert client.head("/events/stream", headers=GLOBEX).status_code == 200


@pytest.mark.parametrize("query", ["a=" + "b" * 16_384, "a&" * 100, "a=" + "%2c" * 1001])
def test_a_query_that_is_long_to_parse_is_refused(settings: WebhooksSettings, query: str) -> None:
    with TestClient(make_app(make_webhooks(settings)), base_url="http://testserver" + MOUNT) as client:
        refused = client.get(f"/events?{query}", headers=ACME)
        assert (refused.status_code, refused.json()["code"]) == (400, "query_too_long")
        assert client.get(f"/dashboard?{query}", headers=ACME).status_code == 200


def test_a_query_may_repeat_a_parameter(settings: WebhooksSettings) -> None:
    with TestClient(make_app(make_webhooks(settings)), base_url="http://testserver" + MOUNT) as client:
        types = "&".join(["event_type=invoice.paid"] * 20)
        assert client.get(f"/events?{types}", headers=ACME).status_code == 200


def test_tests_and_resends_beyond_the_limit_are_429(settings: WebhooksSettings) -> None:
    limited = settings.model_copy(update={"resends_per_minute": 2, "deliver": False})
    with TestClient(make_app(make_webhooks(limited)), base_url="http://testserver" + MOUNT) as client:
        endpoint = client.post("/endpoints", json={"url": "https://hooks.example.com/"}, headers=ACME).json()["id"]
        event = client.post("/test", headers=ACME).json()["id"]
        test, resend = f"/endpoints/{endpoint}/test", f"/events/{event}/endpoints/{endpoint}/resend"
        assert [client.post(path, headers=ACME).status_code for path in (test, resend)] == [202, 202]
        for path in (test, resend):
            refused = client.post(path, headers=ACME)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_deliveries")
            assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert [client.post("/test", headers=ACME).status_code for _ in range(2)] == [202, 429]
        assert client.post("/test", headers=GLOBEX).status_code == 202


def test_a_tenant_creates_as_many_endpoints_a_minute_as_it_may_have(settings: WebhooksSettings) -> None:
    limited = settings.model_copy(update={"resends_per_minute": 10, "endpoints_per_tenant": 2, "deliver": False})
    with TestClient(make_app(make_webhooks(limited)), base_url="http://testserver" + MOUNT) as client:

        def create() -> tuple[int, str]:
            made = client.post("/endpoints", json={"url": "https://hooks.example.com/"}, headers=ACME)
            if made.status_code == 201:
                client.delete(f"/endpoints/{made.json()['id']}", headers=ACME)
            return made.status_code, made.headers.get("retry-after", "")

        assert [create() for _ in range(3)] == [(201, ""), (201, ""), (429, "30")]


class BusyBackend(MemoryBackend):
    """Its catalog takes until `go` to register."""

    runs = 0
    go: anyio.Event

    async def sync(self, event_types: EventTypes) -> SyncResult:
        self.runs += 1
        await self.go.wait()
        return await super().sync(event_types)


async def test_calls_that_register_the_catalog_at_the_same_time_share_one_registration() -> None:
    settings = make_settings()
    backend = BusyBackend(settings)
    backend.go = anyio.Event()
    webhooks = make_webhooks(settings, backend=backend)
    async with webhooks.lifespan():
        catalog = CatalogRegistration(backend, webhooks.event_types)
        async with anyio.create_task_group() as tasks:
            for count in (1, 9):
                for _ in range(count):
                    tasks.start_soon(catalog.register)
                await anyio.wait_all_tasks_blocked()
            backend.go.set()
        assert backend.runs == 2, "the first, and one for all who came after it began"
        await catalog.register()
        assert backend.runs == 3


class CountingBackend(MemoryBackend):
    """Counts deliveries of `acme` until `go`."""

    go: anyio.Event

    def __init__(self, settings: WebhooksSettings) -> None:
        super().__init__(settings)
        self.counting: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def count_undelivered(
        self, query: UndeliveredQuery, *, most: int = 10_000, within: float | None = None
    ) -> UndeliveredCount:
        assert query.tenant is not None
        self.counting[query.tenant] += 1
        self.most[query.tenant] = max(self.most[query.tenant], self.counting[query.tenant])
        if query.tenant == "acme":
            await self.go.wait()
        self.counting[query.tenant] -= 1
        return await super().count_undelivered(query, most=most, within=within)


async def test_a_tenant_counts_its_undelivered_deliveries_once_at_a_time() -> None:
    settings = make_settings()
    backend = CountingBackend(settings)
    backend.go = anyio.Event()
    webhooks = make_webhooks(settings, backend=backend)
    transport = httpx.ASGITransport(webhooks)
    async with webhooks.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        statuses: list[int] = []

        async def count(headers: dict[str, str]) -> None:
            body = {"countOnly": True}
            statuses.append((await client.post("/undelivered/retry", json=body, headers=headers)).status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(count, ACME)
            await eventually(lambda: backend.counting["acme"] == 1)
            await count(GLOBEX)
            assert statuses == [202], "another tenant does not wait"
            backend.go.set()
        assert statuses == [202] * 6
        assert backend.most == {"acme": 1, "globex": 1}


class ObservedBackend(MemoryBackend):
    """Notes how much memory is reserved while it reads an event."""

    hub: StreamHub

    def __init__(self, settings: WebhooksSettings) -> None:
        super().__init__(settings)
        self.held: list[int] = []

    def listen(self, listener: Listener) -> None:
        assert isinstance(listener, StreamHub)
        self.hub = listener
        super().listen(listener)

    async def get_event(self, tenant: str, id: str) -> Event | None:
        self.held.append(self.hub.budget.held)
        return await super().get_event(tenant, id)


def test_an_event_is_read_within_the_memory_for_pages_even_if_only_its_attempts_are_listed() -> None:
    settings = make_settings(deliver=False)
    backend = ObservedBackend(settings)
    webhooks = make_webhooks(settings, backend=backend)
    with TestClient(make_app(webhooks), base_url="http://testserver" + MOUNT) as client:
        event = client.post("/test", headers=ACME).json()["id"]
        listed = client.get(f"/events/{event}/attempts", headers=ACME)
        assert (listed.status_code, listed.json()["attempts"]) == (200, [])
        assert client.get(f"/events/{mint('msg_')}/attempts", headers=ACME).status_code == 404
        assert backend.held == [settings.max_event_bytes] * 2
        assert backend.hub.budget.held == 0


@pytest.mark.parametrize("path", ["/test", "/endpoints/{id}/test"])
def test_tests_are_not_limited_if_the_setting_is_zero(settings: WebhooksSettings, path: str) -> None:
    unlimited = settings.model_copy(update={"resends_per_minute": 0, "deliver": False})
    with TestClient(make_app(make_webhooks(unlimited)), base_url="http://testserver" + MOUNT) as client:
        endpoint = client.post("/endpoints", json={"url": "https://hooks.example.com/"}, headers=ACME).json()["id"]
        url = path.format(id=endpoint)
        assert {client.post(url, headers=ACME).status_code for _ in range(12)} == {202}
