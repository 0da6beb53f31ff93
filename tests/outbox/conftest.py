"""A host for each way to write, each on its own database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from starlette_webhooks import Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.emitter import Emitter
from starlette_webhooks.settings import WebhooksSettings
from tests.outbox.hosts import KINDS, POSTGRESQL, Host, opening


@pytest.fixture
def anyio_backend() -> str:
    """The async drivers know asyncio only. `test_relay.py` runs on both."""
    return "asyncio"


@pytest.fixture(params=KINDS)
async def host(request: pytest.FixtureRequest, anyio_backend: str, tmp_path: Path) -> AsyncIterator[Host]:
    """A host with an outbox, of each kind."""
    url = request.getfixturevalue("postgresql_url") if request.param in POSTGRESQL else None
    async with opening(request.param, tmp_path, url) as host:
        yield host


@pytest.fixture
def emitter(host: Host, settings: WebhooksSettings) -> Emitter:
    """An emitter of a `Webhooks` that does not run."""
    return Webhooks(
        event_types=["order.created"], settings=settings, backend=MemoryBackend(settings), outbox=host.outbox
    ).emitter("acme")
