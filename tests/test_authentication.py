"""Authentication: principals, API keys, Starlette's default, and signed tokens."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Mount
from starlette.testclient import TestClient

from starlette_webhooks import APIKeys, Principal, Webhooks, WebhooksMiddleware
from starlette_webhooks.authentication import Authenticate, call_authenticate
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.tokens import read_token, sign_token
from tests.eventually import eventually
from tests.hosts import EVENT_TYPES, MOUNT, READ, WRITE, HeaderUsers, bearer, make_app, make_webhooks

KEY = b"k" * 32


def connection(**headers: str) -> HTTPConnection:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "headers": raw})


async def test_a_key_is_looked_up_by_its_bearer_header() -> None:
    keys = APIKeys({"sk_1": Principal("acme", [READ])}.get)
    assert await keys(connection(Authorization="Bearer sk_1")) == Principal("acme", [READ])
    assert await keys(connection(Authorization="bearer  sk_1")) == Principal("acme", [READ])
    assert await keys(connection(Authorization="Bearer other")) is None
    assert await keys(connection(Authorization="Basic sk_1")) is None
    assert await keys(connection()) is None


async def test_a_lookup_may_be_async_and_have_a_fallback() -> None:
    async def lookup(key: str) -> Principal | None:
        return Principal("by key") if key == "sk_1" else None

    async def session(connection: HTTPConnection) -> Principal | None:
        return Principal("by session")

    keys = APIKeys(lookup, fallback=session)
    assert await keys(connection(Authorization="Bearer sk_1")) == Principal("by key")
    assert await keys(connection(Authorization="Bearer wrong")) is None, "a wrong key is not a session"
    assert await keys(connection()) == Principal("by session")


@pytest.mark.parametrize("way", ["lookup", "fallback", "authenticate"])
async def test_sync_authentication_does_not_block_the_event_loop(way: str) -> None:
    asked, allowed = threading.Event(), threading.Event()

    def look_up(given: Any) -> Principal | None:
        asked.set()
        # On the event loop, this would block what it waits for.
        return Principal("acme") if allowed.wait(5) else None

    headers = {"Authorization": "Bearer sk_1"} if way == "lookup" else {}
    ways: dict[str, Authenticate] = {
        "lookup": APIKeys(look_up),
        "fallback": APIKeys(lambda key: None, fallback=look_up),
        "authenticate": look_up,
    }
    found = []

    async def call() -> None:
        found.append(await call_authenticate(ways[way], connection(**headers)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await eventually(asked.is_set)
        allowed.set()
    assert found == [Principal("acme")]


async def test_async_authentication_runs_on_the_event_loop() -> None:
    class Sessions:
        async def __call__(self, connection: HTTPConnection) -> Principal | None:
            return Principal(str(threading.get_ident()))

    async def by_key(scope: str, key: str) -> Principal | None:
        return Principal(str(threading.get_ident()), [scope])

    here = str(threading.get_ident())
    assert await call_authenticate(Sessions(), connection()) == Principal(here)
    keys = APIKeys(partial(by_key, READ))
    assert await keys(connection(Authorization="Bearer x")) == Principal(here, [READ])
    # A function that looks sync may return a coroutine, which is awaited.
    around = APIKeys(lambda key: by_key(READ, key))
    assert await around(connection(Authorization="Bearer x")) == Principal(here, [READ])


async def test_a_result_that_is_not_a_principal_is_named() -> None:
    keys = APIKeys(lambda key: "acme")  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match=r"returned str\. Return `Principal\(tenant, scopes\)`"):
        await keys(connection(Authorization="Bearer x"))


def test_scopes_must_not_be_one_string() -> None:
    with pytest.raises(TypeError, match="webhooks:read"):
        Principal("acme", "webhooks:read")


@pytest.fixture
def client(settings: WebhooksSettings) -> Any:
    webhooks = Webhooks(event_types=EVENT_TYPES, settings=settings)
    middleware = [
        Middleware(WebhooksMiddleware, webhooks=webhooks),
        Middleware(AuthenticationMiddleware, backend=HeaderUsers()),
    ]
    with TestClient(Starlette(routes=[Mount(MOUNT, app=webhooks)], middleware=middleware)) as client:
        yield client


def test_by_default_starlettes_user_is_the_tenant_with_its_scopes(client: TestClient) -> None:
    assert client.get(f"{MOUNT}/events").status_code == 401
    assert client.get(f"{MOUNT}/events", headers={"X-User": "acme"}).status_code == 200


def test_the_names_of_the_scopes_come_from_the_settings(settings: WebhooksSettings) -> None:
    renamed = settings.model_copy(update={"read_scope": "hooks.view"})
    keys = {"old": Principal("acme", [READ, WRITE]), "new": Principal("acme", ["hooks.view"])}
    with TestClient(make_app(make_webhooks(renamed, authenticate=APIKeys(keys.get)))) as client:
        refused = client.get(f"{MOUNT}/events", headers=bearer("old"))
        assert refused.status_code == 403
        assert "hooks.view" in refused.json()["detail"]
        assert client.get(f"{MOUNT}/events", headers=bearer("new")).status_code == 200


def test_a_token_is_read_by_its_key_and_purpose_until_it_expires() -> None:
    token = sign_token([KEY], "stream", {"tenant": "acme", "exp": 100})
    assert read_token([KEY], "stream", token, now=99) == {"tenant": "acme", "exp": 100}
    assert read_token([KEY], "stream", token, now=100) is None
    assert read_token([KEY], "portal", token, now=99) is None
    assert read_token([b"x" * 32], "stream", token, now=99) is None
    assert read_token([KEY], "stream", "", now=99) is None
    assert read_token([KEY], "stream", "ü.ü", now=99) is None


def test_a_token_of_any_of_the_keys_is_read_and_the_first_key_signs() -> None:
    old, new = b"o" * 32, b"n" * 32
    by_old, by_new = (sign_token(keys, "stream", {"exp": 100}) for keys in ([old], [new, old]))
    assert read_token([new, old], "stream", by_old, now=0) == read_token([new], "stream", by_new, now=0) == {"exp": 100}
    assert read_token([old], "stream", by_new, now=0) is None
    assert read_token([], "stream", sign_token([b""], "stream", {"exp": 100}), now=0) is None


def portal_link(client: TestClient) -> str:
    url: str = client.post(f"{MOUNT}/portal", headers=bearer("acme")).json()["url"]
    return url


def works(client: TestClient, link: str) -> bool:
    return client.get(link).status_code == 200


def test_the_key_that_signs_is_kept_over_a_restart(settings: WebhooksSettings) -> None:
    with TestClient(make_app(make_webhooks(settings))) as client:
        link = portal_link(client)
    with TestClient(make_app(make_webhooks(settings))) as client:
        assert works(client, link)


def test_the_keys_of_the_settings_are_rotated_without_ending_a_session(settings: WebhooksSettings) -> None:
    old, new = "o" * 32, "n" * 32
    links = []
    for keys in (old, f"{new}, {old}", new):
        given = settings.model_copy(update={"secret_key": SecretStr(keys)})
        with TestClient(make_app(make_webhooks(given))) as client:
            links.append(portal_link(client))
            assert [works(client, link) for link in links[-2:]] == [True] * len(links[-2:])
    with TestClient(make_app(make_webhooks(given))) as client:
        assert [works(client, link) for link in links] == [False, True, True]


def test_a_tenant_may_be_a_number_or_a_uuid_and_nothing_else() -> None:
    assert Principal(42).tenant == "42"
    assert Principal(UUID(int=7)).tenant == "00000000-0000-0000-0000-000000000007"
    for wrong in (None, True, "", 1.5):
        with pytest.raises(TypeError, match="tenant"):
            Principal(wrong)  # type: ignore[arg-type]
