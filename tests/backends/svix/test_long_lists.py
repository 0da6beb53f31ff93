"""Lists that Svix returns in several pages are read to their ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.exceptions import Conflict
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.fake_store import Application, ksuid
from tests.backends.svix.support import make, running

URL = "https://example.com/hooks"
PAGE = 250


@pytest.fixture
def svix_settings(svix_settings: WebhooksSettings) -> WebhooksSettings:
    """Keep the outbox in memory, because these tests do not depend on the disk."""
    return svix_settings.model_copy(update={"database": ":memory:", "endpoints_per_tenant": PAGE + 1})


def add_endpoints(application: Application, like: str, count: int) -> None:
    """Create copies of an endpoint without calls."""
    for _ in range(count):
        identifier = ksuid("ep_", 1.8e9)
        application.endpoints[identifier] = application.endpoints[like] | {"id": identifier, "url": f"{URL}/copy"}


async def test_the_limit_of_endpoints_counts_all_of_them(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        first = await backend.create_endpoint("a", EndpointChanges(url=URL))
        add_endpoints(fake.application("a"), first.id, PAGE)
        with pytest.raises(Conflict, match=str(PAGE + 1)):
            await backend.create_endpoint("a", EndpointChanges(url=URL))


async def test_attempts_are_numbered_from_the_first_one(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        endpoint = await backend.create_endpoint("a", EndpointChanges(url="https://example.com/fail"))
        (event,) = await backend.send([make("a")])
        application = fake.application("a")
        application.attempts.clear()
        now = fake.clock()
        for number in range(PAGE + 5):
            application.attempt(fake.messages("a")[0], endpoint.id, manual=False, now=now + number)
        query = AttemptQuery(
            event_id=event.id, endpoint_id=endpoint.id, limit=3, before=datetime.max.replace(tzinfo=UTC)
        )
        page = await backend.list_attempts("a", query)
        assert [attempt.number for attempt in page.items] == [PAGE + 5, PAGE + 4, PAGE + 3]


async def test_all_failed_and_missing_events_are_recovered(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        application, now = fake.new_application("a"), fake.clock()
        for number in range(PAGE + 10):
            fake.store(application, "invoice.paid", {"data": {"number": number}}, at=now - 5000 + number)
        endpoint = await backend.create_endpoint("a", EndpointChanges(url="https://example.com/fail"))
        for message in application.messages[: PAGE + 3]:
            application.attempt(message, endpoint.id, manual=False, now=now)
        since = datetime.fromtimestamp(now, UTC) - timedelta(days=1)
        assert await backend.recover("a", endpoint.id, since, None, missing=True) == PAGE + 10
        assert {attempt["msgId"] for attempt in application.attempts} == {one.id for one in application.messages}
