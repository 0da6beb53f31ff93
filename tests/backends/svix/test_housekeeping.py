"""Messages in doubt: Svix has stored them, and may not deliver them."""

from __future__ import annotations

from typing import Any

import pytest

from starlette_webhooks.backends.svix import SvixBackend
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.support import make, running, running_fast
from tests.clock import VirtualTime
from tests.eventually import eventually

INVALID: dict[str, Any] = {"status": 422, "body": b'{"detail":[{"loc":["path"],"msg":"no good","type":"value_error"}]}'}


async def put_in_doubt(fake: FakeSvix, backend: SvixBackend) -> None:
    """Let Svix answer 500 to an event that it has stored."""
    fake.queue_fails = True
    event = make("a", 1)
    backend.submit([event])
    await eventually(lambda: any(app.messages for app in fake.applications.values()))
    fake.queue_fails = False

    async def accepted() -> bool:
        (stored,) = await backend.submit([event]).wait()
        return stored.id != ""

    await eventually(accepted)


async def test_a_message_that_is_being_delivered_is_not_sent_again(
    fake: FakeSvix, svix_settings: WebhooksSettings, caplog: pytest.LogCaptureFixture
) -> None:
    virtual = VirtualTime()
    fake.clock = virtual
    async with running(svix_settings, clock=virtual) as backend:
        endpoint = await backend.create_endpoint("a", EndpointChanges(url="https://example.com/1"))
        virtual.advance(1)
        await put_in_doubt(fake, backend)
        fake.application("a").attempt(fake.messages("a")[0], endpoint.id, manual=False, now=virtual())
        virtual.advance(61)
        await backend.resolve_in_doubt()
        assert len(fake.calls_to("/msg/[^/]+/endpoint$")) == 1
        assert fake.calls_to("/resend$") == []
        assert "without delivering" not in caplog.text


async def test_a_message_whose_state_svix_refuses_to_tell_is_left_alone(
    fake: FakeSvix, svix_settings: WebhooksSettings, caplog: pytest.LogCaptureFixture
) -> None:
    virtual = VirtualTime()
    fake.clock = virtual
    async with running(svix_settings, clock=virtual) as backend:
        await put_in_doubt(fake, backend)
        virtual.advance(61)
        fake.fail("/msg/[^/]+/endpoint$", **INVALID)
        await backend.resolve_in_doubt()
        assert "It is unclear whether Svix delivers the event" in caplog.text
        virtual.advance(3600)
        await backend.resolve_in_doubt()
        assert len(fake.calls_to("/msg/[^/]+/endpoint$")) == 1


async def test_a_message_deleted_at_svix_is_not_in_doubt(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    virtual = VirtualTime()
    fake.clock = virtual
    async with running(svix_settings, clock=virtual) as backend:
        await put_in_doubt(fake, backend)
        virtual.advance(61)
        fake.applications.clear()
        await backend.resolve_in_doubt()
        virtual.advance(3600)
        await backend.resolve_in_doubt()
        assert len(fake.calls_to("/msg/[^/]+/endpoint$")) == 1


async def test_in_an_outage_messages_stay_in_doubt(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    virtual = VirtualTime()
    fake.clock = virtual
    async with running(svix_settings, clock=virtual) as backend:
        endpoint = await backend.create_endpoint("a", EndpointChanges(url="https://example.com/1"))
        virtual.advance(1)
        await put_in_doubt(fake, backend)
        virtual.advance(61)
        fake.fail("/msg/[^/]+/endpoint$", times=100, status=503, body=b"")
        with pytest.raises(BackendUnavailable, match="503"):
            await backend.resolve_in_doubt()
        fake.heal()
        virtual.advance(61)
        await backend.resolve_in_doubt()
        assert [attempt["endpointId"] for attempt in fake.application("a").attempts] == [endpoint.id]


async def test_housekeeping_that_failed_is_repeated(
    fake: FakeSvix, svix_settings: WebhooksSettings, caplog: pytest.LogCaptureFixture
) -> None:
    virtual = VirtualTime()
    fake.clock = virtual
    async with running_fast(svix_settings, virtual) as backend:
        endpoint = await backend.create_endpoint("a", EndpointChanges(url="https://example.com/1"))
        virtual.advance(1)
        fake.fail("/msg/[^/]+/endpoint$", times=3, status=503, body=b"")
        await put_in_doubt(fake, backend)
        await eventually(lambda: bool(fake.application("a").attempts))
        assert "The housekeeping of the outbox failed. Trying again" in caplog.text
        assert [attempt["endpointId"] for attempt in fake.application("a").attempts] == [endpoint.id]
