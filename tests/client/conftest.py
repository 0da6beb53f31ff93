"""Fixtures for tests of the client: async on both event loops, and sync."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from starlette_webhooks.client import Client, SyncClient
from tests.client.scripted import Api, scripted_api
from tests.client.threaded import Threaded
from tests.servers import Server, serving

MakeClient = Callable[..., Any]


@pytest.fixture(params=["asyncio", "trio", "sync"])
def flavour(request: pytest.FixtureRequest) -> str:
    """Each test runs with `Client` on both event loops, and with `SyncClient`."""
    return str(request.param)


@pytest.fixture
def anyio_backend(flavour: str) -> str:
    return "asyncio" if flavour == "sync" else flavour


@pytest.fixture
def make_client(flavour: str) -> MakeClient:
    """Create a client, sync ones with async methods."""

    def make(url: str, key: Any = "acme", **options: Any) -> Any:
        if flavour == "sync":
            return Threaded(SyncClient(url, key, **options))
        return Client(url, key, **options)

    return make


@pytest.fixture
def api() -> Generator[Api]:
    """A server that does what the test says."""
    with scripted_api() as running:
        yield running


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A real server."""
    with serving(tmp_path_factory.mktemp("client"), retry_schedule="0,3600") as running:
        yield running
