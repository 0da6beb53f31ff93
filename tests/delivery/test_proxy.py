"""Deliveries through a proxy: a real one, and ones that misbehave."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import anyio
import pytest
import trustme

from starlette_webhooks.delivery.client import DeliveryClient, DeliveryFailed, OutOfResources
from starlette_webhooks.proxy_url import parse_proxy
from tests.servers import free_port
from tests.wire import Peer, guard, listening


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Issues certificates for receivers and proxies."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    """The certificate of the authority, in a file."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def server_context(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_deliveries_go_through_the_proxy_with_its_credentials(proxy: str) -> None:
    # This process resolves no name.
    unused = guard(OSError("not asked"))
    through = parse_proxy(f"http://user:p%40ss%3Aword@{proxy}")
    async with listening() as seen, DeliveryClient(unused, proxy=through) as client:
        for _ in range(2):
            assert (await client.post(seen.url("localhost"), [(b"x-a", b"b")], b"{}")).status == 200
    assert seen.connections == 1
    assert [request.body for request in seen.requests] == [b"{}", b"{}"]
    assert b"proxy-authorization" not in seen.requests[0].headers


async def test_tls_through_the_proxy_is_end_to_end(proxy: str, authority: trustme.CA, ca_file: str) -> None:
    through = parse_proxy(f"http://user:p%40ss%3Aword@{proxy}")
    async with listening(context=server_context(authority)) as seen:
        async with DeliveryClient(guard(), proxy=through, ca_file=ca_file) as client:
            for _ in range(2):
                assert (await client.post(seen.url("localhost", scheme="https"), [], b"{}" * 20_000)).status == 200
            with pytest.raises(DeliveryFailed, match="certificate verify failed"):
                await client.post(seen.url("127.0.0.1", scheme="https"), [], b"{}")
    assert len(seen.requests) == 2


async def test_certificates_of_further_authorities_are_trusted_in_addition_to_the_systems(
    authority: trustme.CA, ca_file: str
) -> None:
    async with listening(context=server_context(authority)) as seen:
        url = seen.url("localhost", scheme="https")
        async with DeliveryClient(guard(), ca_file=ca_file) as client:
            assert (await client.post(url, [], b"{}")).status == 200
        async with DeliveryClient(guard()) as client:
            with pytest.raises(DeliveryFailed, match="certificate verify failed"):
                await client.post(url, [], b"{}")


async def test_wrong_credentials_are_not_the_receivers_fault(proxy: str) -> None:
    async with listening() as seen:
        for wrong in (f"http://{proxy}", f"http://user:wrong@{proxy}"):
            async with DeliveryClient(guard(), proxy=parse_proxy(wrong)) as client:
                with pytest.raises(OutOfResources, match="user name and password"):
                    await client.post(seen.url("localhost"), [], b"{}")
    assert seen.connections == 0


async def test_a_proxy_that_is_away_is_not_the_receivers_fault() -> None:
    through = parse_proxy(f"http://user:hunter2@127.0.0.1:{free_port()}")
    async with DeliveryClient(guard(), proxy=through) as client:
        with pytest.raises(OutOfResources, match="WEBHOOKS_PROXY") as caught:
            await client.post("http://localhost/", [], b"{}")
    assert "hunter2" not in str(caught.value) + repr(through)


async def test_forbidden_addresses_are_refused_before_the_proxy(proxy: str) -> None:
    through = parse_proxy(f"http://user:p%40ss%3Aword@{proxy}")
    async with listening() as seen, DeliveryClient(guard(opened=False), proxy=through) as client:
        for host in ("127.0.0.1", "localhost", "[::1]", "10.0.0.1"):
            with pytest.raises(DeliveryFailed, match="^address is not allowed$"):
                await client.post(seen.url(host), [], b"{}")
    assert seen.connections == 0


async def connect_head(peer: Peer) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        head += await peer.stream.receive()
    return head


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\n\r\ndenied by rule 7",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nx-squid-error: ERR_DNS_FAIL 0\r\n\r\n",
        b"HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"x" * 40_000,
        b"",
    ],
)
async def test_every_refusal_of_a_proxy_has_the_same_reason(answer: bytes) -> None:
    async def behave(peer: Peer) -> None:
        await connect_head(peer)
        await peer.send(answer)

    async with listening(behave) as seen:
        async with DeliveryClient(guard(), proxy=parse_proxy(seen.url(path=""))) as client:
            with pytest.raises(DeliveryFailed) as caught:
                await client.post("http://hook.example.test/", [], b"{}")
    assert caught.value.reason == "connection failed"


async def test_a_proxy_that_never_answers_only_times_an_attempt_out() -> None:
    async def behave(peer: Peer) -> None:
        await anyio.sleep_forever()

    async with listening(behave) as seen:
        async with DeliveryClient(guard(), timeout=0.2, proxy=parse_proxy(seen.url(path=""))) as client:
            with pytest.raises(DeliveryFailed, match="^timeout$"):
                await client.post("http://hook.example.test/", [], b"{}")


async def test_a_proxy_may_use_tls_itself(authority: trustme.CA, ca_file: str) -> None:
    heads: list[bytes] = []

    async def behave(peer: Peer) -> None:
        heads.append(await connect_head(peer))
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with listening(behave, server_context(authority)) as seen:
        through = parse_proxy(f"https://user:secret@localhost:{seen.port}")
        async with DeliveryClient(guard(), proxy=through, ca_file=ca_file) as client:
            assert (await client.post("http://[2606:4700::1]:81/", [], b"{}")).status == 200
    credentials = base64.b64encode(b"user:secret")
    assert heads == [
        b"CONNECT [2606:4700::1]:81 HTTP/1.1\r\nhost: [2606:4700::1]:81\r\n"
        b"proxy-authorization: Basic " + credentials + b"\r\n\r\n"
    ]


@pytest.mark.parametrize("url", ["proxy.example.com:3128", "socks5://proxy", "http://", "http://p:x", "http://p/path"])
def test_an_invalid_proxy_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="Give a URL such as"):
        parse_proxy(url)


def test_a_proxy_has_a_port_by_default() -> None:
    assert (parse_proxy("http://proxy").port, parse_proxy("https://proxy/").port) == (3128, 443)
