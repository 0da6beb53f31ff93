"""One customer's calls to Svix hold up neither those of other customers nor the events of anyone."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from starlette_webhooks.backends.svix import SvixBackend
from starlette_webhooks.backends.svix.client import SvixClient
from starlette_webhooks.events import EventQuery
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.support import make, running
from tests.eventually import eventually

_LONG = 60.0


@pytest.fixture
def svix_settings(svix_settings: WebhooksSettings) -> WebhooksSettings:
    return svix_settings.model_copy(update={"database": ":memory:", "svix_concurrency": 8, "svix_timeout": _LONG})


@asynccontextmanager
async def flooding(fake: FakeSvix, backend: SvixBackend, tenants: int = 1) -> AsyncIterator[None]:
    """Tenants with 50 calls each, none of which Svix answers."""
    fake.fail("/app/mallory", times=math.inf, status=None, delay=_LONG)
    async with anyio.create_task_group() as tasks:
        for number in range(tenants):
            for _ in range(50):
                tasks.start_soon(backend.list_events, f"mallory-{number}", EventQuery())
        await eventually(lambda: len(fake.calls_to("/app/mallory")) >= min(tenants + 3, 8))
        yield
        tasks.cancel_scope.cancel()
    fake.heal()
    await eventually(lambda: fake.running_calls == 0)


async def test_calls_of_one_tenant_use_half_of_the_slots(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend, flooding(fake, backend):
        with anyio.fail_after(10):
            for _ in range(10):
                await backend.list_events("acme", EventQuery())
        assert len(fake.calls_to("/app/mallory")) == 4


async def test_events_are_forwarded_while_calls_of_many_tenants_use_all_slots(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings) as backend, flooding(fake, backend, tenants=12):
        with anyio.fail_after(10):
            backend.submit([make("acme", number) for number in range(5)])
            await backend.settle()
        assert len(fake.calls_to("/app/acme/msg", "POST")) == 5
        assert len(fake.calls_to("/app/mallory")) == 8


async def test_a_call_that_gets_no_slot_in_time_is_not_an_outage_of_svix(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    client = SvixClient(svix_settings.model_copy(update={"svix_concurrency": 1, "svix_timeout": 0.2}), TimeSource())
    free = anyio.Event()

    async def hold(_: str) -> None:
        with anyio.CancelScope(shield=True):
            await free.wait()

    async with client.lifespan(), anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, hold, "mallory")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(BackendUnavailable, match="Too many calls to Svix"):
            await client.call(hold, "acme")
        assert client.error is None
        free.set()
