"""Who may open the console, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest
from starlette.requests import HTTPConnection
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from starlette_webhooks import Principal, Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.console import Operator
from starlette_webhooks.console.operators import find_operator
from starlette_webhooks.settings import WebhooksSettings
from tests.console.desk import SAME_ORIGIN, Page, at_console, authorize
from tests.hosts import MOUNT, bearer, make_app, make_webhooks, session_of

ID = "ep_" + "0" * 27
PATHS = [
    "",
    "/",
    "/tenants",
    "/endpoints",
    f"/endpoints/{ID}",
    "/events",
    "/events/msg_" + "0" * 27,
    "/undelivered",
    "/undelivered/retry",
    "/retries/0",
    "/dead-letters",
    "/dead-letters/discard",
    "/static/0/base.css",
    "/nowhere",
]
ACTIONS = [
    f"endpoints/{ID}/disable",
    f"endpoints/{ID}/enable",
    "undelivered/retry",
    "dead-letters/redrive",
    "dead-letters/discard",
]


@pytest.fixture
def webhooks(settings: WebhooksSettings) -> Webhooks:
    return make_webhooks(settings, backend=MemoryBackend(settings))


@pytest.fixture
def host(webhooks: Webhooks) -> Iterator[TestClient]:
    """A host with the console at `/operate`."""
    app = make_app(webhooks)
    app.router.routes.append(Mount("/operate", webhooks.console(authorize=authorize)))
    with TestClient(app, follow_redirects=False) as client:
        yield client


def test_without_a_function_that_authorizes_it_does_not_start(webhooks: Webhooks) -> None:
    nothing: Any = None
    with pytest.raises(TypeError, match="`console` requires `authorize`"):
        webhooks.console(authorize=nothing)


@pytest.mark.parametrize("credentials", ["none", "key", "session", "user", "ticket"])
def test_a_customer_gets_what_a_path_that_does_not_exist_answers(host: TestClient, credentials: str) -> None:
    headers: dict[str, str] = {}
    if credentials == "key":
        headers = bearer("acme")
    elif credentials == "session":
        headers = {"Cookie": session_of(host, "acme")}
    elif credentials == "user":
        headers = {"X-User": "acme"}
    query = ""
    if credentials == "ticket":
        ticket = host.post(f"{MOUNT}/events/stream/ticket", headers=bearer("acme")).json()["ticket"]
        query = f"?ticket={ticket}"
    nothing = host.get("/nowhere", headers=headers)
    assert nothing.status_code == 404
    for path in PATHS:
        # Starlette redirects from the path of a mount to the one with a slash, whatever is mounted there.
        answer = host.get(f"/operate{path or '/'}{query}", headers=headers)
        assert (answer.status_code, answer.text, answer.headers) == (404, nothing.text, nothing.headers), path
    for path in ACTIONS:
        answer = host.post(f"/operate/{path}{query}", headers={**headers, **SAME_ORIGIN})
        assert (answer.status_code, answer.text) == (404, nothing.text), path


def test_an_operator_gets_every_page_with_strict_headers(host: TestClient) -> None:
    answer = host.get("/operate/", headers={"X-Operator": "olga"})
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "<style" not in answer.text
    assert " style=" not in answer.text


def test_everything_that_a_page_refers_to_exists(host: TestClient) -> None:
    operator = {"X-Operator": "olga"}
    for address in ("/operate/", "/operate/endpoints", "/operate/dead-letters/redrive"):
        page = Page(host.get(address, headers=operator))
        assert len(page.addresses) > 12
        for found in page.addresses:
            if not found.startswith("#"):
                url = httpx.URL(page.url).join(found)
                assert host.get(str(url), headers=operator).status_code == 200, found


async def test_the_mount_without_a_slash_leads_to_the_one_with(webhooks: Webhooks) -> None:
    transport = httpx.ASGITransport(webhooks.console(authorize=authorize), root_path="/operate")
    async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
        answer = await client.get("/operate", headers={"X-Operator": "olga"})
    assert (answer.status_code, answer.headers["location"]) == (307, "operate/")


def test_websockets_are_closed(host: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), host.websocket_connect("/operate/", headers={"X-Operator": "olga"}):
        pass


async def test_the_function_may_be_sync_or_async_and_a_sync_one_runs_in_a_thread() -> None:
    connection = HTTPConnection({"type": "http", "headers": []})
    threads: list[int] = []

    def sync(connection: HTTPConnection) -> str:
        threads.append(threading.get_ident())
        return "olga"

    async def asynchronous(connection: HTTPConnection) -> Operator:
        await anyio.lowlevel.checkpoint()
        return Operator("olga")

    assert await find_operator(sync, connection, read_only=False) == Operator("olga")
    assert threads != [threading.get_ident()]
    assert await find_operator(asynchronous, connection, read_only=True) == Operator("olga", read_only=True)
    assert await find_operator(lambda connection: None, connection, read_only=False) is None


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (Principal("acme"), "returned Principal"),
        (True, "returned bool"),
        (False, "returned bool"),
        ("", "returned an empty name"),
        (Operator(""), "returned an empty name"),
    ],
)
async def test_a_principal_of_a_customer_and_anything_else_is_refused(found: Any, why: str) -> None:
    with pytest.raises(TypeError, match=f"{why}. Return the name of the operator"):
        await find_operator(lambda connection: found, HTTPConnection({"type": "http"}), read_only=False)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_another_site_cannot_act(webhooks: Webhooks, headers: dict[str, str]) -> None:
    async with webhooks.lifespan(), at_console(webhooks) as client:
        endpoint = await webhooks.endpoints("acme").create("http://127.0.0.1:9/x")
        answer = await client.post(f"endpoints/{endpoint.id}/disable", headers=headers)
        assert answer.status_code == 403
        assert "Use the buttons on the pages of this console." in Page(answer).text
        assert "portal" not in answer.text.partition("<main")[2]
        assert not (await webhooks.endpoints("acme").get(endpoint.id)).disabled
        answer = await client.post(f"endpoints/{endpoint.id}/disable", headers={"Origin": "http://host"})
        assert answer.status_code == 303
        assert (await webhooks.endpoints("acme").get(endpoint.id)).disabled


@pytest.mark.parametrize("whole", [False, True])
async def test_whoever_may_only_look_sees_no_action_and_none_is_accepted(webhooks: Webhooks, whole: bool) -> None:
    client = at_console(webhooks, "olga" if whole else "reader", read_only=whole)
    async with webhooks.lifespan(), client:
        endpoint = await webhooks.endpoints("acme").create("http://127.0.0.1:9/x")
        for path in ("", "tenants", "endpoints", f"endpoints/{endpoint.id}", "events", "undelivered", "dead-letters"):
            page = Page(await client.get(path))
            assert page.status == 200, path
            assert "Read only" in page.text
            assert page.buttons() == []
            assert not [label for label in page.links if label.endswith("…")]
        for path in ACTIONS:
            path = path.replace(ID, endpoint.id)
            assert (await client.post(path, headers=SAME_ORIGIN)).status_code == 403, path
        for path in ("undelivered/retry", "dead-letters/redrive", "dead-letters/discard"):
            assert (await client.get(path)).status_code == 403, path
        assert not (await webhooks.endpoints("acme").get(endpoint.id)).disabled


async def test_a_page_is_not_an_action_and_an_action_is_not_a_page(webhooks: Webhooks) -> None:
    async with webhooks.lifespan(), at_console(webhooks) as client:
        for method, path in (("GET", f"endpoints/{ID}/disable"), ("POST", "endpoints"), ("DELETE", "")):
            answer = await client.request(method, path, headers=SAME_ORIGIN)
            assert answer.status_code == 405, path
            assert answer.headers["allow"] == ("POST" if method == "GET" else "GET")
        assert (await client.head("")).status_code == 200


def test_a_page_about_an_id_with_a_slash_looks_like_all_others(host: TestClient) -> None:
    operator = {"X-Operator": "olga"}
    for path in ("/operate/events/a%2Fb", "/operate/endpoints/..%2F..%2Fx", "/operate/retries/%2F"):
        page = Page(host.get(path, headers=operator))
        assert page.status == 404
        assert "There is no such" in page.text
        for found in page.addresses:
            if not found.startswith("#"):
                assert host.get(str(httpx.URL(page.url).join(found)), headers=operator).status_code == 200, found
    answer = host.get("/operate/events?id=a/b", headers=operator)
    assert answer.headers["location"] == "./events/a%2Fb"


async def test_without_the_path_as_it_was_sent_a_slash_separates(webhooks: Webhooks) -> None:
    async def strip(scope: Scope, receive: Receive, send: Send) -> None:
        await console({**scope, "raw_path": None}, receive, send)

    console = webhooks.console(authorize=authorize)
    transport = httpx.ASGITransport(strip)
    async with webhooks.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://host") as client:
        for path, status in (("/events", 200), ("/events/a%2Fb", 404), (f"/endpoints/{ID}", 404), ("/", 200)):
            assert (await client.get(path, headers={"X-Operator": "olga"})).status_code == status, path


async def test_only_forms_as_browsers_send_them_are_read(webhooks: Webhooks) -> None:
    async with webhooks.lifespan(), at_console(webhooks) as client:
        # Read as an empty form, it would redrive the dead letters of all tenants.
        answer = await client.post("dead-letters/redrive", files={"tenant": (None, "acme")}, headers=SAME_ORIGIN)
        assert answer.status_code == 400
        assert "application/x-www-form-urlencoded" in Page(answer).text
        headers = {**SAME_ORIGIN, "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        answer = await client.post("dead-letters/redrive", content=b"tenant=acme", headers=headers)
        assert answer.status_code == 303
