"""The delivery client against friendly receivers: what it sends, where it connects, what it keeps."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import anyio.to_thread
import pytest
import trustme

from starlette_webhooks.delivery.client import DeliveryClient, DeliveryFailed
from starlette_webhooks.delivery.failures import NO_ADDRESS
from tests.wire import OK, Peer, answer_all, guard, listening

HEADERS = [(b"content-type", b"application/json"), (b"webhook-id", b"msg_1")]
HOST = "hook.example.test"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def server_context(authority: trustme.CA, name: str = HOST) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@contextmanager
def failing(reason: str) -> Generator[None]:
    with pytest.raises(DeliveryFailed) as caught:
        yield
    assert caught.value.reason == reason


async def test_a_request_arrives_unchanged_and_its_response_is_returned() -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 503 Later\r\nRetry-After: 120\r\nContent-Type: text/plain\r\nX-Secret: s\r\n")
        await peer.send(b"Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n3\r\n, n\r\n0\r\n\r\n")

    async with listening(behave) as seen, DeliveryClient(guard()) as client:
        reply = await client.post(seen.url(path="/a%20b?c=d"), HEADERS, b'{"x": 1}')
    assert (reply.status, reply.body) == (503, b"no, n")
    assert reply.headers == {"retry-after": "120", "content-type": "text/plain"}
    assert 0 <= reply.duration_ms < 5000
    request = seen.requests[0]
    assert request.head.startswith(b"POST /a%20b?c=d HTTP/1.1\r\n")
    assert request.body == b'{"x": 1}'
    assert request.headers == {
        b"host": f"127.0.0.1:{seen.port}".encode(),
        b"content-type": b"application/json",
        b"webhook-id": b"msg_1",
        b"accept-encoding": b"identity",
        b"content-length": b"8",
    }


async def test_an_empty_body_and_a_large_one_are_sent_whole() -> None:
    async with listening() as seen, DeliveryClient(guard()) as client:
        for body in (b"", bytes(range(256)) * 8192, b"x"):
            assert (await client.post(seen.url(), HEADERS, body)).status == 200
            assert seen.requests[-1].body == body
    assert seen.connections == 1


async def test_informational_responses_before_the_real_one_are_skipped() -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK)

    async with listening(behave) as seen, DeliveryClient(guard()) as client:
        assert (await client.post(seen.url(), HEADERS, b"{}")).body == b"ok"


@pytest.mark.parametrize(("many", "kept"), [(8, 1), (9, 0)])
async def test_a_connection_with_more_than_eight_informational_responses_is_closed(many: int, kept: int) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" * many + OK)
        await answer_all(peer)

    async with listening(behave) as seen, DeliveryClient(guard()) as client:
        assert (await client.post(seen.url(), HEADERS, b"{}")).body == b"ok"
        assert client.idle_connections == kept


async def test_a_connection_too_many_is_closed_and_not_used_again() -> None:
    async with listening(answer_all) as seen, DeliveryClient(guard(), max_idle=1) as client:
        for _ in range(2):
            async with anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(client.post, seen.url(), HEADERS, b"{}")
            assert client.idle_connections == 1
    assert (len(seen.requests), seen.connections) == (4, 3)


async def test_redirects_are_returned_and_not_followed() -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /else\r\ncontent-length: 0\r\n\r\n")
        await answer_all(peer)

    async with listening(behave) as seen, DeliveryClient(guard()) as client:
        assert (await client.post(seen.url(), HEADERS, b"{}")).status == 307
    assert len(seen.requests) == 1


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with listening() as seen, DeliveryClient(guard()) as client:
        assert (await client.post(seen.url(), HEADERS, b"{}")).status == 200


async def test_the_checked_address_is_connected_to_with_the_original_host() -> None:
    async with listening() as seen, DeliveryClient(guard(["127.0.0.1"])) as client:
        await client.post(seen.url("Hook.Example.test"), HEADERS, b"{}")
    assert seen.requests[0].headers[b"host"] == f"{HOST}:{seen.port}".encode()


async def test_tls_carries_the_original_name_and_checks_the_certificate_for_it(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    context = server_context(authority)
    names: list[str | None] = []
    context.sni_callback = lambda tls, name, _: names.append(name)
    async with listening(context=context) as seen, DeliveryClient(guard(), ssl_context=trusting) as client:
        for _ in range(3):
            assert (await client.post(seen.url(HOST, scheme="https"), HEADERS, b"{}" * 20_000)).body == b"ok"
        assert (seen.connections, client.idle_connections) == (1, 1)
        with failing(
            "TLS: certificate verify failed: Hostname mismatch, certificate is not valid for 'other.example.test'."
        ):
            await client.post(seen.url("other.example.test", scheme="https"), HEADERS, b"{}")
    assert names == [HOST, "other.example.test"]
    assert {request.headers[b"host"] for request in seen.requests} == {f"{HOST}:{seen.port}".encode()}


async def test_certificates_of_unknown_authorities_are_refused_by_default(authority: trustme.CA) -> None:
    async with listening(context=server_context(authority)) as seen, DeliveryClient(guard()) as client:

        async def post() -> None:
            with pytest.raises(DeliveryFailed, match="^TLS: certificate verify failed: "):
                await client.post(seen.url(HOST, scheme="https"), HEADERS, b"{}")

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(post)
    assert seen.requests == []


async def test_a_receiver_that_wants_a_client_certificate_is_reported(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            accepted, _ = listener.accept()
            with context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False) as tls:
                with pytest.raises(ssl.SSLError):
                    tls.do_handshake()
                # If it were closed immediately, the client might see a reset instead of the alert.
                seen.wait(5)

        seen = threading.Event()
        async with anyio.create_task_group() as tasks, DeliveryClient(guard(), ssl_context=trusting) as client:
            tasks.start_soon(anyio.to_thread.run_sync, refuse)
            with failing("TLS: tlsv13 alert certificate required"):
                await client.post(f"https://{HOST}:{listener.getsockname()[1]}/", HEADERS, b"{}")
            seen.set()


async def test_a_receiver_that_does_not_speak_tls_is_reported(trusting: ssl.SSLContext) -> None:
    async def banner(peer: Peer) -> None:
        await peer.send(b"SSH-2.0-OpenSSH_9.6\r\n" + b"x" * 100)
        await anyio.sleep(1)

    async with listening(banner) as seen, DeliveryClient(guard(), ssl_context=trusting) as client:
        with failing("TLS: wrong version number"):
            await client.post(seen.url(HOST, scheme="https"), HEADERS, b"{}")

    async def hang_up(peer: Peer) -> None:
        await peer.stream.receive()

    async with listening(hang_up) as seen, DeliveryClient(guard(), ssl_context=trusting) as client:
        with failing("TLS: connection closed in the handshake"):
            await client.post(seen.url(HOST, scheme="https"), HEADERS, b"{}")


async def test_a_name_that_is_rebound_between_attempts_gains_nothing() -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")

    async with listening(behave) as seen, DeliveryClient(guard(["127.0.0.1"], ["10.0.0.1"])) as client:
        assert (await client.post(seen.url(HOST), HEADERS, b"{}")).status == 200
        with failing(NO_ADDRESS):
            await client.post(seen.url(HOST), HEADERS, b"{}")


async def test_a_kept_connection_stays_with_its_checked_address_when_the_name_is_rebound() -> None:
    async with listening() as seen, DeliveryClient(guard(["127.0.0.1"], ["10.0.0.1"])) as client:
        for _ in range(3):
            assert (await client.post(seen.url(HOST), HEADERS, b"{}")).status == 200
    assert seen.connections == 1


async def test_tenants_share_no_connection() -> None:
    async with listening() as seen, DeliveryClient(guard()) as client:
        for tenant in ("acme", "globex", "acme", "globex"):
            assert (await client.post(seen.url(), HEADERS, b"{}", tenant=tenant)).status == 200
        assert client.idle_connections == 2
    assert seen.connections == 2


@pytest.mark.parametrize("host", ["10.0.0.1", "0x7f000001", "[::1]", "169.254.169.254", "internal.example.test"])
async def test_forbidden_addresses_are_not_connected_to(host: str) -> None:
    strict = guard(["::1", "127.0.0.1", "192.168.0.1"], opened=False)
    async with listening() as seen, DeliveryClient(strict) as client:
        # The message is the same as for a name that does not exist.
        with failing(NO_ADDRESS if host.endswith(".test") else "address is not allowed"):
            await client.post(seen.url(host), HEADERS, b"{}")
    assert seen.connections == 0


async def test_addresses_are_tried_in_turn_and_forbidden_ones_left_out() -> None:
    async with listening() as seen, DeliveryClient(guard(["10.0.0.1", "127.0.0.9", "127.0.0.1"])) as client:
        assert (await client.post(seen.url(HOST), HEADERS, b"{}")).status == 200


@contextmanager
def unreachable(host: str, port: int) -> Generator[None]:
    """An address with a full queue, which drops packets like a firewall."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind((host, port))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex((host, port))
        yield


async def test_unreachable_addresses_leave_the_same_time_for_each_of_the_next() -> None:
    answer = ["127.0.0.8", "127.0.0.9", "127.0.0.1"]
    async with listening() as seen, DeliveryClient(guard(answer), timeout=1.5) as client:
        with unreachable(answer[0], seen.port), unreachable(answer[1], seen.port):
            reply = await client.post(seen.url(HOST), HEADERS, b"{}")
    assert reply.status == 200
    assert 950 <= reply.duration_ms < 1500


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (["127.0.0.9"], "connection refused"),
        ([], NO_ADDRESS),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), NO_ADDRESS),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "name lookup failed"),
    ],
)
async def test_failures_to_connect_have_a_reason_for_the_customer(answer: list[str] | OSError, reason: str) -> None:
    async with listening() as seen, DeliveryClient(guard(answer)) as client:
        with failing(reason):
            await client.post(seen.url(HOST), HEADERS, b"{}")


@pytest.mark.parametrize(
    ("url", "reason"),
    [("ftp://example.com/", "must begin with"), ("http://u:p@example.com/", "password"), ("x", "must begin with")],
)
async def test_urls_that_became_invalid_fail_the_delivery_with_the_remedy(url: str, reason: str) -> None:
    async with DeliveryClient(guard()) as client:
        with pytest.raises(DeliveryFailed, match=reason):
            await client.post(url, HEADERS, b"{}")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (b"Host", b"evil", "header is not allowed: Host"),
        (b"content-length", b"0", "header is not allowed: content-length"),
        (b"Transfer-Encoding", b"chunked", "header is not allowed: Transfer-Encoding"),
        (b"x-a", b"1\r\nhost: evil", "header is malformed"),
        (b"x-a", b"1\n", "header is malformed"),
        (b"x-a", b" 1", "header is malformed"),
        (b"x-a", b"1\x00", "header is malformed"),
        (b"x-a: 1\r\nx-b", b"1", "header is malformed"),
        (b"host: evil, x", b"1", "header is malformed"),
        (b"", b"1", "header is malformed"),
        (b"x\xe9", b"1", "header is malformed"),
    ],
)
async def test_headers_cannot_change_the_request(name: bytes, value: bytes, reason: str) -> None:
    async with listening() as seen, DeliveryClient(guard()) as client:
        with failing(reason):
            await client.post(seen.url(), [*HEADERS, (name, value)], b"{}")
        assert (await client.post(seen.url(), [(b"X-Odd!", b"a\t b\xff"), (b"x-empty", b"")], b"{}")).status == 200
    assert len(seen.requests) == 1


async def test_concurrent_requests_get_their_own_responses() -> None:
    async def echo(peer: Peer) -> None:
        while True:
            body = (await peer.request()).body
            await anyio.sleep(0.001 * (body[0] % 5))
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    async with listening(echo) as seen, DeliveryClient(guard()) as client:

        async def post(number: int) -> None:
            for turn in range(10):
                body = bytes([number, turn]) * 50
                assert (await client.post(seen.url(), HEADERS, body)).body == body

        async with anyio.create_task_group() as tasks:
            for number in range(16):
                tasks.start_soon(post, number)
        assert seen.connections <= 16
        assert client.idle_connections == seen.connections


async def test_a_client_that_is_not_entered_says_what_to_do() -> None:
    client = DeliveryClient(guard())
    with pytest.raises(RuntimeError, match="async with"):
        await client.post("http://127.0.0.1/", HEADERS, b"{}")
    async with client:
        pass
    with pytest.raises(RuntimeError, match="async with"):
        await client.post("http://127.0.0.1/", HEADERS, b"{}")


async def test_errors_of_the_block_come_out_of_the_client_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError):
        async with DeliveryClient(guard()):
            raise ZeroDivisionError
