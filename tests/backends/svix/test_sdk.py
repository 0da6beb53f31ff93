"""The private names of the `svix` SDK that `backends/svix/sdk.py` uses."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
import svix
from svix.api import EventTypeListOptions
from svix.exceptions import HttpError

import starlette_webhooks
from starlette_webhooks.backends.svix.sdk import base_url, make_sdk

CHANGED = (
    f"The SDK {svix.__version__} differs from 2.9: adapt `backends/svix/sdk.py`, and the bound in `pyproject.toml`."
)


class Transport(httpx.AsyncBaseTransport):
    """Answers every request with a status, and records it."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self.status, content=self.body, headers={"content-type": "application/json"})


async def test_the_sdk_calls_through_the_client_that_it_is_given() -> None:
    transport = Transport(200, b'{"data":[],"iterator":null,"done":true}')
    async with httpx.AsyncClient(transport=transport) as http:
        sdk = make_sdk("token", http, server_url="http://svix.test", retries=(), timeout=1)
        page = await sdk.event_type.list(EventTypeListOptions(limit=1))
        assert page.done
    (request,) = transport.requests
    assert request.url.host == "svix.test", CHANGED
    assert request.headers["authorization"] == "Bearer token", CHANGED


@pytest.mark.parametrize("retries", [(), (0.0,), (0.0, 0.0)])
async def test_the_sdk_retries_as_often_as_configured(retries: tuple[float, ...]) -> None:
    transport = Transport(500, b'{"code":"x","detail":"y"}')
    async with httpx.AsyncClient(transport=transport) as http:
        sdk = make_sdk("token", http, server_url="http://svix.test", retries=retries, timeout=1)
        with pytest.raises(HttpError):
            await sdk.event_type.list(EventTypeListOptions(limit=1))
    assert len(transport.requests) == 1 + len(retries), CHANGED


async def test_the_sdk_uses_our_client(monkeypatch: pytest.MonkeyPatch) -> None:
    async with httpx.AsyncClient() as http:

        def refuse(*args: object, **kwargs: object) -> None:
            raise AssertionError(CHANGED)

        monkeypatch.setattr(httpx.AsyncClient, "__init__", refuse)
        monkeypatch.setattr(httpx.Client, "__init__", refuse)
        make_sdk("token", http, server_url=None, retries=(), timeout=1)


@pytest.mark.parametrize(
    ("token", "server_url", "expected"),
    [
        ("token", None, "https://api.svix.com"),
        ("token.eu", None, "https://api.eu.svix.com"),
        ("token.eu", "http://localhost:8071", "http://localhost:8071"),
    ],
)
async def test_the_url_follows_the_setting_or_the_region_of_the_token(
    token: str, server_url: str | None, expected: str
) -> None:
    async with httpx.AsyncClient() as http:
        sdk = make_sdk(token, http, server_url=server_url, retries=(), timeout=1)
        assert base_url(sdk) == expected, CHANGED


def test_no_other_file_uses_private_names_of_the_sdk() -> None:
    package = Path(starlette_webhooks.__file__).parent
    for path in (package / "backends" / "svix").glob("*.py"):
        if path.name != "sdk.py":
            assert re.search(r"sdk(_once)?\._|from svix\.api\.\w+ import|ClientBase", path.read_text()) is None, path
