"""Endpoints at Svix: creation, changes, rotation, recovery and tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.exceptions import BackendRefused, Conflict, InvalidBody
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.fake_store import ksuid
from tests.backends.svix.support import TYPES, make, running
from tests.eventually import eventually

URL = "https://example.com/hooks"


@pytest.fixture
def svix_settings(svix_settings: WebhooksSettings) -> WebhooksSettings:
    """Keep the outbox in memory, because these tests do not depend on the disk."""
    return svix_settings.model_copy(update={"database": ":memory:"})


async def test_an_endpoint_is_created_read_changed_and_deleted(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        secret = "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
        endpoint = await backend.create_endpoint(
            tenant,
            EndpointChanges(
                url=URL,
                description="mine",
                event_types=("invoice.paid",),
                channels=("eu",),
                rate_limit=7,
                metadata={"team": "billing"},
                headers={"X-Plain": "shown", "Authorization": "hidden"},
                secret=secret,
            ),
        )
        assert endpoint.id.startswith("ep_")
        assert await backend.get_secret(tenant, endpoint.id) == secret
        found = await backend.get_endpoint(tenant, endpoint.id)
        assert found is not None
        assert (found.url, found.description, found.event_types, found.channels) == (
            URL,
            "mine",
            ("invoice.paid",),
            ("eu",),
        )
        assert (found.rate_limit, found.metadata, found.tenant) == (7, {"team": "billing"}, tenant)
        assert sorted(name.lower() for name in found.headers) == ["authorization", "x-plain"]
        changed = await backend.update_endpoint(
            tenant,
            endpoint.id,
            EndpointChanges(event_types=(), channels=(), rate_limit=None, disabled=True, headers={}),
        )
        assert changed is not None
        assert (changed.event_types, changed.channels, changed.rate_limit, changed.headers) == ((), (), None, {})
        assert changed.disabled
        assert changed.description == "mine"
        assert [e.id for e in (await backend.list_endpoints(tenant, limit=10, cursor=None)).items] == [endpoint.id]
        assert await backend.delete_endpoint(tenant, endpoint.id)
        assert not await backend.delete_endpoint(tenant, endpoint.id)
        assert await backend.get_endpoint(tenant, endpoint.id) is None


async def test_endpoints_are_listed_in_pages_newest_first(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        ids = [(await backend.create_endpoint(tenant, EndpointChanges(url=URL))).id for _ in range(5)]
        first = await backend.list_endpoints(tenant, limit=3, cursor=None)
        rest = await backend.list_endpoints(tenant, limit=3, cursor=first.next_cursor)
        listed = [endpoint.id for page in (first, rest) for endpoint in page.items]
        assert sorted(listed) == sorted(ids)
        assert listed == sorted(listed, reverse=True)
        assert rest.done


async def test_the_number_of_endpoints_is_limited_by_the_setting(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings.model_copy(update={"endpoints_per_tenant": 2})) as backend:
        for _ in range(2):
            await backend.create_endpoint(tenant, EndpointChanges(url=URL))
        with pytest.raises(Conflict, match="which is the limit"):
            await backend.create_endpoint(tenant, EndpointChanges(url=URL))


async def test_an_endpoint_that_svix_refuses_is_an_error_of_the_customer(
    svix_settings: WebhooksSettings, tenant: str
) -> None:
    async with running(svix_settings) as backend:
        with pytest.raises(InvalidBody, match="http"):
            await backend.create_endpoint(tenant, EndpointChanges(url="ftp://example.com"))
        with pytest.raises(InvalidBody, match="exist"):
            await backend.create_endpoint(tenant, EndpointChanges(url=URL, event_types=("no.such",)))
        with pytest.raises(InvalidBody, match="forbidden"):
            await backend.create_endpoint(tenant, EndpointChanges(url=URL, headers={"Svix-Id": "1"}))
        assert (await backend.list_endpoints(tenant, limit=10, cursor=None)).items == []


async def test_an_endpoint_of_another_tenant_and_an_invalid_id_are_not_found(
    svix_settings: WebhooksSettings, tenant: str
) -> None:
    async with running(svix_settings) as backend:
        endpoint = await backend.create_endpoint(tenant, EndpointChanges(url=URL))
        (event,) = await backend.send([make(tenant, 1)])
        other = f"{tenant}-2"
        await backend.send([make(other, 1)])
        now = datetime.now(UTC)
        for owner, id in ((other, endpoint.id), (tenant, ksuid("ep_", 1.8e9)), (tenant, ".."), (tenant, "ep_x/../..")):
            assert await backend.get_endpoint(owner, id) is None
            assert await backend.update_endpoint(owner, id, EndpointChanges(description="x")) is None
            assert await backend.update_endpoint(owner, id, EndpointChanges(headers={})) is None
            assert not await backend.delete_endpoint(owner, id)
            assert await backend.get_secret(owner, id) is None
            assert await backend.rotate_secret(owner, id, None) is None
            assert await backend.endpoint_stats(owner, id, now, now) is None
            assert await backend.recover(owner, id, now, None, missing=True) is None
            assert await backend.test_endpoint(owner, id, make(owner)) is None
            assert not await backend.resend(owner, event.id, id)
        assert not await backend.resend(other, event.id, endpoint.id)
        assert not await backend.resend(tenant, "..", endpoint.id)


async def test_a_rotation_that_svix_answers_with_nothing_succeeds(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        endpoint = await backend.create_endpoint(tenant, EndpointChanges(url=URL))
        first = await backend.get_secret(tenant, endpoint.id)
        second = await backend.rotate_secret(tenant, endpoint.id, None)
        assert second is not None
        assert second.startswith("whsec_")
        assert second != first
        key = "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
        assert await backend.rotate_secret(tenant, endpoint.id, key) == key
        with pytest.raises(Conflict) as conflict:
            for _ in range(12):
                await backend.rotate_secret(tenant, endpoint.id, None)
        assert conflict.value.code == "too_many_secrets"


async def test_a_server_that_ignores_the_filter_is_found_out(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        fake.ignores_filters = True
        with pytest.raises(BackendRefused, match="1.99"):
            await backend.create_endpoint("a", EndpointChanges(url=URL, event_types=("invoice.paid",)))
        assert fake.application("a").endpoints == {}
        endpoint = await backend.create_endpoint("a", EndpointChanges(url=URL))
        with pytest.raises(BackendRefused, match="1.99"):
            await backend.update_endpoint("a", endpoint.id, EndpointChanges(event_types=("invoice.paid",)))


async def test_statistics_are_requested_within_the_limits_of_svix(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        endpoint = await backend.create_endpoint(tenant, EndpointChanges(url="https://example.com/fail"))
        now = datetime.now(UTC)
        stats = await backend.endpoint_stats(tenant, endpoint.id, now - timedelta(days=90), now + timedelta(days=1))
        assert stats is not None
        assert stats.until - stats.since == timedelta(days=28)
        assert (stats.success, stats.buckets) == (0, ())


async def test_a_resend_without_the_payload_is_a_conflict(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        endpoint = await backend.create_endpoint("a", EndpointChanges(url=URL))
        (event,) = await backend.send([make("a", 1)])
        assert await backend.resend("a", event.id, endpoint.id)
        fake.messages("a")[0].payload = {"expired": True}
        with pytest.raises(Conflict, match="expired"):
            await backend.resend("a", event.id, endpoint.id)


async def test_recovering_sends_failed_and_never_attempted_events(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings) as backend:
        application = fake.new_application("a")
        now = fake.clock()
        for number in range(3):
            fake.store(application, "user.created", {"data": {"number": number}}, at=now - 1000 + number)
        fake.store(application, "invoice.failed", {"data": {}}, at=now - 900)
        fake.store(application, "user.created", {"data": {"too": "young"}})
        endpoint = await backend.create_endpoint(
            "a", EndpointChanges(url="https://example.com/fail", event_types=("user.created",))
        )
        application.attempt(fake.messages("a")[0], endpoint.id, manual=False, now=now)
        since = datetime.fromtimestamp(now, UTC) - timedelta(days=40)
        assert await backend.recover("a", endpoint.id, since, None, missing=False) == 1
        assert len(application.attempts) == 2
        assert await backend.recover("a", endpoint.id, since, None, missing=True) == 3
        tried = [attempt["msgId"] for attempt in application.attempts]
        assert set(tried) == {message.id for message in fake.messages("a")[:3]}


@pytest.mark.parametrize("filters", [{}, {"event_types": ("user.created",)}, {"channels": ("eu",)}])
async def test_a_test_reaches_the_endpoint_ignoring_its_filters(
    fake: FakeSvix, svix_settings: WebhooksSettings, filters: dict[str, tuple[str, ...]]
) -> None:
    async with running(svix_settings) as backend:
        await backend.create_endpoint("a", EndpointChanges(url="https://example.com/other"))
        endpoint = await backend.create_endpoint("a", EndpointChanges(url=URL, **filters))  # type: ignore[arg-type]
        event = await backend.test_endpoint("a", endpoint.id, make("a", 1, "test.ping"))
        assert event is not None
        assert event.type == "test.ping"
        assert event.data == {"hello": "world"}
        await eventually(lambda: bool(fake.application("a").attempts))
        assert [attempt["endpointId"] for attempt in fake.application("a").attempts] == [endpoint.id]


async def test_event_types_are_registered_before_the_first_filter_needs_them(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings) as backend:
        assert fake.event_types == {}
        await backend.create_endpoint("a", EndpointChanges(url=URL, event_types=("user.created",)))
        assert set(fake.event_types) == {event_type.name for event_type in TYPES}
