"""Fixtures of the Svix tests: a fake server, or the real one of `SVIX_SERVER_URL` and `SVIX_TOKEN`."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import pytest

from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import TOKEN, FakeSvix
from tests.settings import make_settings

REAL_URL = os.environ.get("SVIX_SERVER_URL")
REAL_TOKEN = os.environ.get("SVIX_TOKEN")
REAL = bool(REAL_URL and REAL_TOKEN)


@pytest.fixture
def anyio_backend() -> str:
    """The SDK of Svix runs on asyncio only."""
    return "asyncio"


@pytest.fixture(scope="session")
def fake_server() -> Generator[FakeSvix]:
    """One fake server for all tests."""
    with FakeSvix().running() as fake:
        yield fake


@pytest.fixture
def fake(request: pytest.FixtureRequest) -> FakeSvix:
    """The fake server, empty and without faults. Tests inspect it, or make it fail."""
    if REAL:
        pytest.skip("This needs the faults or the insides of the fake, which a real Svix does not offer.")
    server: FakeSvix = request.getfixturevalue("fake_server")
    server.reset()
    return server


@pytest.fixture
def tenant() -> str:
    """A tenant that only this test uses."""
    return f"test-{uuid4().hex}"


@pytest.fixture
def svix_settings(request: pytest.FixtureRequest, tmp_path: Path) -> WebhooksSettings:
    """Settings for the server of this run."""
    if REAL:
        return make_settings(tmp_path, svix_api_key=REAL_TOKEN, svix_server_url=REAL_URL)
    fake: FakeSvix = request.getfixturevalue("fake")
    return make_settings(tmp_path, svix_api_key=TOKEN, svix_server_url=fake.url)
