"""The backends that the contract suite runs over. To add a backend, add its name."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest

from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.backends.postgresql import PostgreSQLBackend
from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.backends.svix import SvixBackend
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.contract.support import TENANTS, MakeBackend
from tests.backends.svix.conftest import REAL, REAL_TOKEN, REAL_URL
from tests.backends.svix.fake_server import TOKEN, FakeSvix
from tests.clock import Clock
from tests.receivers import Received, Receiver, receiving
from tests.settings import make_settings


class Kind(NamedTuple):
    """A backend, and the event loop that it runs on."""

    backend: str
    loop: str


# The SDK of Svix runs on asyncio only.
KINDS = [
    Kind(backend, loop)
    for backend in ("memory", "sqlite", "postgresql", "svix")
    for loop in ("asyncio", "trio")
    if (backend, loop) != ("svix", "trio")
]


@pytest.fixture(params=KINDS, ids="-".join)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The backend and the event loop of a test."""
    found: Kind = request.param
    return found


@pytest.fixture
def anyio_backend(kind: Kind) -> str:
    """The event loop."""
    return kind.loop


@pytest.fixture(scope="session")
def fake_server() -> Generator[FakeSvix]:
    """A fake server of Svix."""
    with FakeSvix().running() as fake:
        yield fake


@pytest.fixture
def moved_clock() -> Clock:
    """The clock of every backend of a test, and of the fake Svix."""
    return Clock()


@pytest.fixture
def clock(kind: Kind, moved_clock: Clock) -> Clock:
    """A clock that the test can move."""
    if kind.backend == "svix" and REAL:
        pytest.skip("The clock of a real Svix cannot be moved.")
    return moved_clock


@pytest.fixture
def make_backend(kind: Kind, tmp_path: Path, moved_clock: Clock, request: pytest.FixtureRequest) -> MakeBackend:
    """Makes a backend. All of them use the same store if there is one, like the processes of a host."""
    # No failed delivery is retried while a test runs.
    settings = make_settings(tmp_path, endpoints_per_tenant=4, retry_schedule="0,3600")
    if kind.backend == "memory":
        return lambda: MemoryBackend(settings, clock=moved_clock)
    if kind.backend == "sqlite":
        return lambda: SQLiteBackend(settings, clock=moved_clock)
    if kind.backend == "postgresql":
        url: str = request.getfixturevalue("postgresql_url")
        schema: str = request.getfixturevalue("migrated_schema")
        on_server = settings.model_copy(update={"database": url, "database_schema": schema})
        return lambda: PostgreSQLBackend(on_server, clock=moved_clock)
    settings = _svix_settings(settings, moved_clock, request)
    return lambda: SvixBackend(settings, clock=moved_clock, poll=(0.02, 0.05), relay_poll=0.02)


def _svix_settings(settings: WebhooksSettings, clock: Clock, request: pytest.FixtureRequest) -> WebhooksSettings:
    if REAL:
        real = make_settings(svix_api_key=REAL_TOKEN, svix_server_url=REAL_URL)
        anyio.run(_erase_all, real)
        return settings.model_copy(update={name: getattr(real, name) for name in ("svix_api_key", "svix_server_url")})
    fake: FakeSvix = request.getfixturevalue("fake_server")
    fake.reset()
    fake.clock = clock
    own = make_settings(svix_api_key=TOKEN, svix_server_url=fake.url)
    return settings.model_copy(update={name: getattr(own, name) for name in ("svix_api_key", "svix_server_url")})


async def _erase_all(settings: WebhooksSettings) -> None:
    backend = SvixBackend(settings)
    async with backend.lifespan(EventTypes()):
        for tenant in TENANTS:
            await backend.erase(tenant)


@pytest.fixture
def receiver() -> Generator[Receiver]:
    """A receiver that answers 500 if the path contains `fail`. The fake Svix only looks at the URL."""

    def answer(request: Received) -> int:
        return 500 if "fail" in request.path else 200

    with receiving() as running:
        running.answer = answer
        yield running
