"""What is deleted at Svix, refused or out of reach between two of our calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.backends.svix import SvixBackend
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.events import EventQuery
from starlette_webhooks.exceptions import BackendRefused, BackendUnavailable, InvalidRequest
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.support import make, running

URL = "https://example.com/hooks"
NOT_FOUND: dict[str, Any] = {"status": 404, "body": b'{"code":"not_found","detail":"Entity not found"}'}
INVALID: dict[str, Any] = {"status": 422, "body": b'{"detail":[{"loc":["body"],"msg":"no good","type":"value_error"}]}'}

Operation = Callable[[SvixBackend, Endpoint, str], Awaitable[Any]]


@pytest.fixture
def svix_settings(svix_settings: WebhooksSettings) -> WebhooksSettings:
    """Keep the outbox in memory, because these tests do not depend on the disk."""
    return svix_settings.model_copy(update={"database": ":memory:"})


async def change(backend: SvixBackend, endpoint: Endpoint, event: str) -> Any:
    return await backend.update_endpoint("a", endpoint.id, EndpointChanges(description="new"))


async def rotate(backend: SvixBackend, endpoint: Endpoint, event: str) -> Any:
    return await backend.rotate_secret("a", endpoint.id, None)


async def recover(backend: SvixBackend, endpoint: Endpoint, event: str) -> Any:
    return await backend.recover("a", endpoint.id, datetime.now(UTC), None, missing=True)


async def resend(backend: SvixBackend, endpoint: Endpoint, event: str) -> Any:
    return await backend.resend("a", event, endpoint.id) or None


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("PATCH", "/endpoint/[^/]+$", change),
        ("POST", "/secret/rotate$", rotate),
        ("POST", "/recover$", recover),
        ("POST", "/resend$", resend),
    ],
)
async def test_an_endpoint_deleted_during_a_call_is_not_found(
    fake: FakeSvix, svix_settings: WebhooksSettings, method: str, path: str, operation: Operation
) -> None:
    async with running(svix_settings) as backend:
        endpoint = await backend.create_endpoint("a", EndpointChanges(url=URL))
        (event,) = await backend.send([make("a")])
        fake.fail(path, method=method, **NOT_FOUND)
        assert await operation(backend, endpoint, event.id) is None
        assert await operation(backend, endpoint, event.id) is not None


async def test_a_call_that_svix_refuses_for_another_reason_says_which(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings) as backend:
        endpoint = await backend.create_endpoint("a", EndpointChanges(url=URL))
        (event,) = await backend.send([make("a")])
        fake.fail("/resend$", **INVALID)
        with pytest.raises(BackendRefused) as refused:
            await backend.resend("a", event.id, endpoint.id)
        assert refused.value.detail == "body: no good"
        fake.fail("/app$", method="POST", **INVALID)
        with pytest.raises(BackendRefused):
            await backend.create_endpoint("b", EndpointChanges(url=URL))


async def test_an_endpoint_whose_headers_are_gone_has_none(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        endpoint = await backend.create_endpoint("a", EndpointChanges(url=URL, headers={"X-Key": "1"}))
        fake.fail("/headers$", method="GET", **NOT_FOUND)
        found = await backend.get_endpoint("a", endpoint.id)
        assert found is not None
        assert found.headers == {}


async def test_headers_alone_can_be_changed(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        endpoint = await backend.create_endpoint("a", EndpointChanges(url=URL, description="mine"))
        changed = await backend.update_endpoint("a", endpoint.id, EndpointChanges(headers={"X-Key": "2"}))
        assert changed is not None
        assert (changed.headers, changed.description) == ({"X-Key": "2"}, "mine")
        assert fake.calls_to("/endpoint/[^/]+$", "PATCH") == []


async def test_attempts_are_listed_for_an_event_or_an_endpoint_only(svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        with pytest.raises(InvalidRequest, match="one endpoint at a time"):
            await backend.list_attempts("a", AttemptQuery())
        assert (await backend.list_attempts("a", AttemptQuery(event_id="../x"))).items == []


async def test_an_outage_while_payloads_are_read_one_by_one_is_not_taken_for_missing_events(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings) as backend:
        await backend.send([make("a", 1)])
        # The page cannot be parsed because of this one.
        fake.store(fake.application("a"), "invoice.paid", ["no", "object"])
        fake.fail("/msg/", method="GET", times=100, status=503, body=b"")
        with pytest.raises(BackendUnavailable, match="503"):
            await backend.list_events("a", EventQuery())


async def test_an_outage_during_a_deletion_is_reported(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        endpoint = await backend.create_endpoint("a", EndpointChanges(url=URL))
        fake.fail("/endpoint/", method="DELETE", times=100, status=503, body=b"")
        with pytest.raises(BackendUnavailable, match="503"):
            await backend.delete_endpoint("a", endpoint.id)
        fake.heal()
        assert await backend.delete_endpoint("a", endpoint.id)


async def test_a_stream_that_is_no_longer_watched_is_not_replayed(svix_settings: WebhooksSettings) -> None:
    from starlette_webhooks.feed import StreamFilter

    async with running(svix_settings) as backend:
        with pytest.raises(BackendUnavailable, match="no longer watched"):
            await backend.replay("a", StreamFilter(), None)
