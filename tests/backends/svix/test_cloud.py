"""What only Svix's cloud offers: a portal, categories of event types, examples with data, and opaque cursors."""

from __future__ import annotations

import pytest

from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.exceptions import InvalidRequest
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.support import TYPES, make, running


@pytest.fixture
def cloud(fake: FakeSvix, svix_settings: WebhooksSettings, monkeypatch: pytest.MonkeyPatch) -> WebhooksSettings:
    """Settings for a host of the cloud, whose calls a proxy takes to the fake."""
    monkeypatch.setenv("http_proxy", fake.url)
    return svix_settings.model_copy(update={"svix_server_url": "http://api.test.svix.com", "database": ":memory:"})


async def test_a_test_has_the_data_that_the_caller_gave(fake: FakeSvix, cloud: WebhooksSettings) -> None:
    async with running(cloud) as backend:
        endpoint = await backend.create_endpoint("a", EndpointChanges(url="https://example.com/hook"))
        event = make("a", 7)
        assert await backend.test_endpoint("a", endpoint.id, event) is not None
        (call,) = fake.calls_to("/send-example$")
        assert call.body == {"eventType": event.type, "payload": {**call.body["payload"], "data": {"number": 7}}}


async def test_event_types_are_grouped_by_category_unless_somebody_grouped_them(
    fake: FakeSvix, cloud: WebhooksSettings
) -> None:
    async with running(cloud) as backend:
        await backend.sync(TYPES)
        fake.event_types["user.created"]["groupName"] = "people"
        assert "user.created" in (await backend.sync(TYPES)).unchanged
        groups = {call.path.rpartition("/")[2]: call.body for call in fake.calls_to("/event-type/", "PATCH")}
        assert groups["invoice.paid"] == {"groupName": TYPES["invoice.paid"].category}
        assert "user.created" not in groups


async def test_any_cursor_of_the_cloud_is_passed_on_and_others_are_refused(
    fake: FakeSvix, cloud: WebhooksSettings
) -> None:
    async with running(cloud) as backend:
        await backend.create_endpoint("a", EndpointChanges(url="https://example.com/hook"))
        await backend.list_endpoints("a", limit=10, cursor="iter_opaque-1")
        assert fake.calls_to("/endpoint$", "GET")[-1].query["iterator"] == "iter_opaque-1"
        with pytest.raises(InvalidRequest, match="nextCursor"):
            await backend.list_endpoints("a", limit=10, cursor="not a cursor")
