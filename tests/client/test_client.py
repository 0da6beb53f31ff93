"""The client against a real server, which may be killed."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from starlette_webhooks.client import (
    APIError,
    ClientError,
    ConnectionFailed,
    Event,
    Gap,
    KeyRefused,
    NotFound,
    SyncClient,
)
from starlette_webhooks.identifiers import first_id
from starlette_webhooks.signing import generate_secret
from tests import plain
from tests.client.conftest import MakeClient
from tests.client.cutting import cutting_proxy
from tests.client.scripted import Answer, Api, event_of
from tests.hosts import MOUNT
from tests.receivers import receiving
from tests.servers import Server, free_port, serving

QUICK = {"max_delay": 0.01}


def emit(server: Server, count: int, tenant: str = "acme") -> list[str]:
    """Emit events as the host, and return their ids."""
    with plain.Client(base_url=server.url, headers={"X-User": tenant}) as host:
        return [host.post("/emit", json={"number": number}).json()["id"] for number in range(count)]


@pytest.fixture
def url(server: Server) -> str:
    return server.url + MOUNT


async def test_events_are_listed_and_read_by_id(server: Server, url: str, make_client: MakeClient) -> None:
    began = datetime.now(UTC) - timedelta(milliseconds=10)
    ids = await to_thread.run_sync(emit, server, 3)
    async with make_client(url) as client:
        listed = [event async for event in client.list(event_types=["invoice.paid"], after=began)]
        assert [event.id for event in listed] == ids[::-1]
        assert isinstance(listed[0], Event)
        assert (await client.get(ids[0])).data == {"amount": 1, "number": 0}
        assert [event async for event in client.list(before=began, after=began)] == []


async def test_a_list_goes_over_all_pages(api: Api, make_client: MakeClient) -> None:
    pages = [[event_of(number) for number in numbers] for numbers in ([5, 4], [], [3])]
    for number, events in enumerate(pages):
        done = number == len(pages) - 1
        page = {"events": events, "nextCursor": None if done else f"msg_{number}", "done": done}
        api.then(Answer(200, {}, json.dumps(page).encode()), path="/events")
    async with make_client(api.url) as client:
        assert [event.data["number"] async for event in client.list(channel="eu")] == [5, 4, 3]
    assert [request.query.get("cursor") for request in api.requests] == [None, ["msg_0"], ["msg_1"]]
    assert {request.query["channel"][0] for request in api.requests} == {"eu"}


async def test_endpoints_attempts_tests_resends_and_recoveries(
    server: Server, url: str, make_client: MakeClient
) -> None:
    began = datetime.now(UTC)
    with receiving() as receiver:
        receiver.status = 500
        async with make_client(url, "globex") as client:
            secret = generate_secret()
            endpoint = await client.create_endpoint(receiver.url, event_types=("test.ping",), secret=secret)
            assert endpoint in [each async for each in client.endpoints()]
            assert endpoint.event_types == ("test.ping",)
            assert await client.secret(endpoint.id) == secret
            assert await client.rotate_secret(endpoint.id) != secret
            changed = await client.update_endpoint(endpoint.id, rate_limit=50, metadata={"team": "billing"})
            assert (changed.rate_limit, changed.metadata) == (50, {"team": "billing"})
            assert await client.get_endpoint(endpoint.id) == changed
            event = await client.test(data={"hello": "ada"}, endpoint=endpoint.id)
            assert event.test
            assert event.data == {"hello": "ada"}
            with anyio.fail_after(5):
                while not (attempts := [each async for each in client.attempts(endpoint=endpoint.id)]):
                    await anyio.sleep(0.01)
            assert (attempts[0].event_id, attempts[0].status, attempts[0].status_code) == (event.id, "fail", 500)
            assert attempts == [each async for each in client.attempts(event=event.id, status="fail")]
            await client.resend(event.id, endpoint.id)
            assert await client.recover(endpoint.id, began, missing=True) == 0
            assert "invoice.paid" in [each.name for each in await client.event_types()]
            await client.delete_endpoint(endpoint.id)
            with pytest.raises(NotFound, match="no such endpoint"):
                await client.get_endpoint(endpoint.id)


async def test_errors_of_the_server_say_what_to_do(url: str, make_client: MakeClient) -> None:
    async with make_client(url) as client:
        with pytest.raises(APIError, match="is not registered|not in the catalog|no event type") as raised:
            await client.test("invoice.unknown")
        assert (raised.value.status_code, raised.value.code) == (422, "unknown_event_type")
        with pytest.raises(NotFound):
            await client.get("msg_../../endpoints")
    async with make_client(url, "nobody") as client:
        with pytest.raises(KeyRefused):
            await client.event_types()


@pytest.mark.parametrize("flavour", ["asyncio", "trio"], indirect=True)
async def test_a_key_function_may_be_async(url: str, make_client: MakeClient) -> None:
    async def key() -> str:
        await anyio.lowlevel.checkpoint()
        return "acme\n"

    async with make_client(url, key) as client:
        assert await client.event_types()


@pytest.mark.parametrize("flavour", ["sync"], indirect=True)
async def test_an_async_key_function_is_refused_by_the_sync_client(url: str, make_client: MakeClient) -> None:
    async with make_client(url, lambda: uuid.uuid4()) as client:
        with pytest.raises(TypeError, match="Use `Client`"):
            await client.event_types()


async def test_a_call_that_reads_is_made_again_and_one_that_changes_something_only_if_it_was_not_admitted(
    api: Api, make_client: MakeClient
) -> None:
    event = Answer(200, {}, json.dumps(event_of(1)).encode())
    api.then(Answer(503, {"Retry-After": "0"}), Answer(429, end="reset"), Answer(500), event, path="/events/msg_1")
    api.then(Answer(429), event, Answer(503), path="/test")
    async with make_client(api.url, **QUICK) as client:
        assert (await client.get("msg_1")).data == {"number": 1}
        assert (await client.test()).data == {"number": 1}
        with pytest.raises(APIError) as raised:
            await client.test()
        assert raised.value.status_code == 503
    assert (len(api.to("/events/msg_1")), len(api.to("/test"))) == (4, 3)


async def test_a_call_gives_up_after_its_retries(make_client: MakeClient) -> None:
    async with make_client(f"http://127.0.0.1:{free_port()}", retries=2, **QUICK) as client:
        with pytest.raises(ConnectionFailed):
            await client.get("msg_1")


async def test_what_is_not_the_api_is_said(api: Api, make_client: MakeClient) -> None:
    api.then(Answer(200, {}, b"<html>"), Answer(200, {}, b"[]"), path="/event-types")
    async with make_client(api.url) as client:
        for _ in range(2):
            with pytest.raises(APIError, match="did not come from the API"):
                await client.event_types()


@pytest.mark.parametrize("key", ["a\nb", "clé"])
async def test_a_request_that_cannot_be_sent_is_not_tried_again(api: Api, make_client: MakeClient, key: str) -> None:
    async with make_client(api.url, key) as client:
        with pytest.raises(ClientError, match="cannot be sent"):
            await anext(client.stream())


# On Trio, httpx leaves its generators to the garbage collector then, and Trio warns.
@pytest.mark.parametrize("flavour", ["asyncio", "sync"])
async def test_an_answer_that_cannot_be_decoded_is_requested_again(api: Api, make_client: MakeClient) -> None:
    api.then(Answer(200, {"Content-Encoding": "gzip"}, b"{}"), path="/event-types")
    api.then(Answer(200, {}, b'{"eventTypes":[]}'), path="/event-types")
    async with make_client(api.url, **QUICK) as client:
        assert list(await client.event_types()) == []


def test_redirects_without_end_are_not_followed_again(api: Api) -> None:
    api.then(*[Answer(307, {"Location": "/events/stream"})] * 30)
    with plain.Client(follow_redirects=True) as http, SyncClient(api.url, http=http) as client:
        with pytest.raises(ClientError, match="Set the URL of the client"):
            next(client.stream(after="msg_1"))


NO_URLS = [
    "api.example.com",
    "ftp://example.com",
    "https://",
    "https://example.com/?a=b",
    "https://a:99999",
    "http://[::1",
]


@pytest.mark.parametrize("url", NO_URLS)
def test_the_url_must_be_one(url: str, make_client: MakeClient) -> None:
    with pytest.raises(ValueError, match="such as `https:"):
        make_client(url)


@pytest.mark.parametrize("arguments", [{}, {"event": "msg_1", "endpoint": "ep_1"}])
def test_attempts_are_of_an_event_or_of_an_endpoint(make_client: MakeClient, arguments: dict[str, str]) -> None:
    with pytest.raises(TypeError, match="either"):
        make_client("http://127.0.0.1:1").attempts(**arguments)


def test_a_client_does_not_show_its_key() -> None:
    from starlette_webhooks.client.credentials import Credentials

    assert "sk_secret" not in repr(Credentials("sk_secret"))


@pytest.mark.parametrize("flavour", ["trio", "sync"], indirect=True)
async def test_nothing_is_lost_or_repeated_when_the_server_is_killed(tmp_path: Path, make_client: MakeClient) -> None:
    port = free_port()
    async with make_client(f"http://127.0.0.1:{port}{MOUNT}", "globex", max_delay=0.05) as client:
        with serving(tmp_path, port=port) as server:
            # The tenant has no event yet to resume after.
            async with client.stream() as events:
                emitted = await to_thread.run_sync(emit, server, 10, "globex")
                with anyio.fail_after(10):
                    received = [(await anext(events)).id for _ in range(5)]
                await to_thread.run_sync(server.kill)
                with serving(tmp_path, port=port) as restarted:
                    emitted += await to_thread.run_sync(emit, restarted, 5, "globex")
                    with anyio.fail_after(20):
                        received += [(await anext(events)).id for _ in range(10)]
    assert received == emitted


async def test_nothing_is_lost_or_repeated_behind_a_proxy_that_cuts_streams(
    server: Server, make_client: MakeClient
) -> None:
    with cutting_proxy(server.port) as proxy:
        async with make_client(proxy.url + MOUNT, "globex", max_delay=0.01) as client:
            async with client.stream() as events:
                emitted = await to_thread.run_sync(emit, server, 30, "globex")
                with anyio.fail_after(20):
                    received = [(await anext(events)).id for _ in emitted]
    assert received == emitted
    assert proxy.cuts > 3


async def test_an_event_that_is_no_longer_stored_is_a_gap(server: Server, url: str, make_client: MakeClient) -> None:
    await to_thread.run_sync(emit, server, 2, "globex")
    # Older than all events. An id that ends with zeros would be a time to start from.
    unknown = first_id("msg_", 1_700_000_000_000)[:-1] + "1"
    async with make_client(url, "globex") as client:
        ids = [event.id async for event in client.list()][::-1]
        events = client.stream(after=unknown)
        with anyio.fail_after(10):
            with pytest.raises(Gap) as raised:
                await anext(events)
            assert (raised.value.requested, raised.value.oldest) == (unknown, ids[0])
            assert [(await anext(events)).id for _ in ids] == ids


def test_the_client_does_not_import_the_server() -> None:
    code = "import sys, starlette_webhooks.client as c; print('starlette' in sys.modules, 'pydantic' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (run.stdout.strip(), run.stderr) == ("False False", "")
