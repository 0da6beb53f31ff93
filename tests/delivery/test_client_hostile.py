"""The delivery client against hostile and broken receivers, and its limits of open connections."""

from __future__ import annotations

import gzip
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import cast

import anyio
import pytest
import trustme
from anyio.streams.tls import TLSStream

from starlette_webhooks.delivery.addresses import AddressGuard
from starlette_webhooks.delivery.client import DeliveryClient, DeliveryFailed
from starlette_webhooks.delivery.sloppy import read_sloppily
from tests.eventually import eventually
from tests.wire import OK, Peer, answer_all, guard, listening

HEAD = b"HTTP/1.1 200 OK\r\n"
NO_RESPONSE = "not an HTTP/1.1 response"
TOO_LARGE = "response headers are too large"


def sending(*parts: bytes, then: str = "close") -> Callable[[Peer], Awaitable[None]]:
    """A receiver that reads a request and sends these bytes. Then it closes, resets, waits, or repeats the last."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        for part in parts:
            await peer.send(part)
        while then == "repeat":
            await peer.send(parts[-1])
        if then == "drip":
            await peer.drip(b"x" * 10_000)
        if then == "stay":
            await peer.stream.receive()
        if then == "reset":
            await anyio.sleep(0.05)
            await peer.reset()

    return behave


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        pytest.param(sending(then="stay"), "timeout", id="silence"),
        pytest.param(sending(HEAD + b"x-a: ", then="drip"), "timeout", id="dripping headers"),
        pytest.param(sending(HEAD + b"content-length: 9999\r\n\r\n", then="drip"), "timeout", id="dripping body"),
        pytest.param(sending(HEAD + b"content-length: 9\r\n\r\nabc", then="stay"), "timeout", id="half a body"),
        pytest.param(sending(HEAD + b"content-le", then="stay"), "timeout", id="half a head"),
        pytest.param(sending(then="close"), "connection closed without a response", id="close"),
        pytest.param(sending(then="reset"), "connection reset", id="reset"),
        pytest.param(sending(b"HTTP/1.1 100 Continue\r\n\r\n", then="repeat"), NO_RESPONSE, id="endless 100"),
        pytest.param(sending(b"HTTP/1.1 102 Processing\r\n\r\n", then="stay"), "timeout", id="102 and silence"),
        pytest.param(sending(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), NO_RESPONSE, id="101"),
        pytest.param(sending(b"a" * 9999, then="repeat"), TOO_LARGE, id="endless line"),
        pytest.param(sending(b"\x00\xff" * 100), NO_RESPONSE, id="garbage"),
        pytest.param(sending(b"SSH-2.0-OpenSSH_9.6\r\n"), NO_RESPONSE, id="SSH"),
        pytest.param(sending(b"220 mail.example.com ESMTP\r\n\r\n"), NO_RESPONSE, id="SMTP"),
        pytest.param(sending(b"HTTP/2.0 200 OK\r\n\r\n"), NO_RESPONSE, id="HTTP/2.0"),
        pytest.param(sending(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18), NO_RESPONSE, id="HTTP/2 frame"),
        pytest.param(sending(b"<html>hello</html>\r\n\r\n"), NO_RESPONSE, id="HTTP/0.9"),
        pytest.param(sending(b"HTTP/1.1 099 Low\r\n\r\n"), NO_RESPONSE, id="status 99"),
        pytest.param(sending(b"HTTP/1.1 2000 High\r\n\r\n"), NO_RESPONSE, id="status 2000"),
        pytest.param(sending(b"HTTP/1.1 \r\n\r\n"), NO_RESPONSE, id="no status"),
        pytest.param(sending(b"HTTP/1.1 200", then="close"), NO_RESPONSE, id="close in the status line"),
        pytest.param(sending(b"HTTP/1.1 200", then="reset"), "connection reset", id="reset in the status line"),
        pytest.param(sending(b"\r\n" * 999, then="repeat"), TOO_LARGE, id="endless empty lines"),
        pytest.param(sending(b"HTTP/1.1 100 Continue\r\nno colon\r\n\r\n"), NO_RESPONSE, id="a sloppy 100 alone"),
    ],
)
async def test_an_invalid_response_fails_in_time_with_a_reason(
    behave: Callable[[Peer], Awaitable[None]], reason: str
) -> None:
    timeout = 0.15 if reason == "timeout" else 5.0
    async with listening(behave) as seen, DeliveryClient(guard(), timeout=timeout) as client:
        started = time.monotonic()
        with pytest.raises(DeliveryFailed) as caught:
            await client.post(seen.url(), [], b"{}")
        assert caught.value.reason == reason
        assert time.monotonic() - started < 2
        assert reason != "timeout" or caught.value.duration_ms >= 150
        assert seen.connections <= 1
        assert client.idle_connections == 0


CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("behave", "body"),
    [
        pytest.param(sending(HEAD + b"content-length: 99999999\r\n\r\n", b"a" * 999, then="repeat"), 16384, id="huge"),
        pytest.param(sending(HEAD + b"\r\n", b"a" * 999, then="repeat"), 16384, id="without end"),
        pytest.param(sending(CHUNKED, b"3e7\r\n" + b"a" * 999 + b"\r\n", then="repeat"), 16384, id="endless chunks"),
        pytest.param(sending(CHUNKED, b"1;" + b"e" * 999 + b"\r\na\r\n", then="repeat"), (20, 40), id="extensions"),
        pytest.param(sending(CHUNKED, b"1\r\na\r\n" * 99, then="repeat"), (5000, 6000), id="chunks of a byte"),
        pytest.param(sending(CHUNKED + b"0\r\n", b"x: y\r\n" * 99, then="repeat"), 0, id="endless trailers"),
        pytest.param(sending(CHUNKED + b"1\r\naXX", then="stay"), 1, id="malformed chunk"),
        pytest.param(sending(HEAD + b"content-length: 9\r\n\r\naa", then="close"), 2, id="cut off"),
        pytest.param(sending(HEAD + b"content-length: 9\r\n\r\naa", then="reset"), 2, id="reset"),
        pytest.param(sending(b"HTTP/1.0 200 OK\r\n\r\naaa", then="close"), 3, id="HTTP/1.0"),
        pytest.param(sending(HEAD + b"connection: close\r\ncontent-length: 1\r\n\r\na", then="stay"), 1, id="close"),
        pytest.param(sending(HEAD + b"content-length: 1\r\n\r\na" + OK, then="stay"), 1, id="bytes after it"),
    ],
)
async def test_a_response_is_read_up_to_the_limit_and_its_connection_not_used_again(
    behave: Callable[[Peer], Awaitable[None]], body: int | tuple[int, int]
) -> None:
    async with listening(behave) as seen, DeliveryClient(guard(), timeout=3) as client:
        reply = await client.post(seen.url(), [], b"{}")
        assert reply.status == 200
        assert reply.body == b"a" * len(reply.body)
        least, most = body if isinstance(body, tuple) else (body, body)
        assert least <= len(reply.body) <= most
        assert client.idle_connections == 0


@pytest.mark.parametrize(
    ("behave", "body"),
    [
        pytest.param(sending(HEAD + b"no colon\r\ncontent-length: 2\r\n\r\nok"), b"ok", id="header without colon"),
        pytest.param(sending(HEAD + b"x-a : 1\r\ncontent-length: 2\r\n\r\nok"), b"ok", id="space before the colon"),
        pytest.param(sending(HEAD + b"x: a\x00b\r\ncontent-length: 2\r\n\r\nok"), b"ok", id="header with NUL"),
        pytest.param(sending(HEAD + b"x\xe9: a\r\ncontent-length: 2\r\n\r\nok"), b"ok", id="name outside ASCII"),
        pytest.param(sending(HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nok"), b"ok", id="two lengths"),
        pytest.param(sending(HEAD + b"content-length: -1\r\n\r\nok"), b"ok", id="negative length"),
        pytest.param(sending(HEAD + b"transfer-encoding: identity\r\n\r\nok"), b"ok", id="identity"),
        pytest.param(sending(HEAD + b"transfer-encoding: gzip\r\n\r\nok"), b"ok", id="unknown coding"),
        pytest.param(sending(b"\r\n" + OK), b"ok", id="line end before the status line"),
        pytest.param(sending(b"\r\n", b"\r\n", OK, then="stay"), b"ok", id="line ends in parts of their own"),
        pytest.param(sending(b"HTTP/1.1  200  OK\r\n\r\nok"), b"ok", id="spaces in the status line"),
        pytest.param(sending(HEAD + b"x : 1\ntransfer-encoding: chunked\n\n2\r\nok\r\n0\r\n\r\n"), b"ok", id="chunks"),
        pytest.param(sending(b"HTTP/1.1 103 Hints\r\nx : 1\r\n\r\n" + OK), b"ok", id="after a sloppy 103"),
        pytest.param(sending(HEAD, then="close"), b"", id="close in the head"),
        pytest.param(sending(HEAD, then="reset"), b"", id="reset in the head"),
        pytest.param(sending(HEAD, b"x-a: " + b"a" * 999 + b"\r\n", then="repeat"), b"", id="endless headers"),
        pytest.param(sending(HEAD + b"x-a: ", b"a" * 9999, then="repeat"), b"", id="endless header"),
    ],
)
async def test_a_receiver_that_violates_http_has_answered_if_its_status_is_clear(
    behave: Callable[[Peer], Awaitable[None]], body: bytes
) -> None:
    async with listening(behave) as seen, DeliveryClient(guard()) as client:
        reply = await client.post(seen.url(), [], b"{}")
        assert (reply.status, reply.body) == (200, body)
        assert client.idle_connections == 0


async def test_a_sloppy_response_keeps_its_retry_after_and_no_more_of_its_body_than_the_limit() -> None:
    head = b"HTTP/1.1 503 Later\r\nno colon\r\nRetry-After: 120\r\nContent-Type : text/plain\r\n\r\n"
    async with listening(sending(head + b"a" * 99)) as seen, DeliveryClient(guard(), max_response=10) as client:
        reply = await client.post(seen.url(), [], b"{}")
    assert (reply.status, reply.body) == (503, b"a" * 10)
    assert reply.headers == {"retry-after": "120", "content-type": "text/plain"}


async def test_compressed_bodies_are_not_requested_and_not_inflated() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    head = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb)
    async with listening(sending(head + bomb)) as seen, DeliveryClient(guard()) as client:
        assert (await client.post(seen.url(), [], b"{}")).body == bomb[:16384]
    assert seen.requests[0].headers[b"accept-encoding"] == b"identity"


@pytest.mark.parametrize("then", ["stay", "close"])
async def test_a_receiver_may_answer_before_it_has_read_the_body(then: str) -> None:
    async def behave(peer: Peer) -> None:
        await peer.stream.receive(100)
        await peer.send(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
        await anyio.sleep(0.2 if then == "close" else 5)

    async with listening(behave) as seen, DeliveryClient(guard(), timeout=3) as client:
        reply = await client.post(seen.url(), [], bytes(8_000_000))
        assert reply.status == 413
        assert reply.duration_ms < 2000
        assert client.idle_connections == 0


async def test_a_receiver_that_does_not_read_or_answer_times_out() -> None:
    async def behave(peer: Peer) -> None:
        await anyio.sleep(5)

    async with listening(behave) as seen, DeliveryClient(guard(), timeout=0.15) as client:
        for size in (10, 8_000_000):
            with pytest.raises(DeliveryFailed, match="^timeout$"):
                await client.post(seen.url(), [], bytes(size))


@pytest.mark.parametrize("size", [10, 8_000_000])
async def test_a_receiver_that_hangs_up_on_a_body_is_reported(size: int) -> None:
    async def behave(peer: Peer) -> None:
        await peer.stream.receive(1)

    async with listening(behave) as seen, DeliveryClient(guard()) as client:
        with pytest.raises(DeliveryFailed, match="^connection (reset|closed without a response)$"):
            await client.post(seen.url(), [], bytes(size))
    assert seen.connections == 1


async def test_a_lookup_that_never_ends_times_out() -> None:
    async def never(host: str, port: int) -> list[str]:
        await anyio.sleep_forever()
        return []

    async with DeliveryClient(AddressGuard(resolve=never), timeout=0.2) as client:
        with anyio.fail_after(3), pytest.raises(DeliveryFailed, match="^timeout$"):
            await client.post("http://hook.example.test/", [], b"{}")


async def test_a_tls_handshake_that_never_ends_times_out() -> None:
    async def behave(peer: Peer) -> None:
        await anyio.sleep(5)

    async with (
        listening(behave) as seen,
        DeliveryClient(guard(), timeout=0.15, ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as client,
    ):
        with pytest.raises(DeliveryFailed, match="^timeout$"):
            await client.post(seen.url("hook.example.test", scheme="https"), [], b"{}")


@pytest.mark.parametrize("after", ["record", "garbage", "farewell"])
async def test_bytes_after_a_response_over_tls_do_not_answer_the_next_request(after: str) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hook.example.test").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def behave(peer: Peer) -> None:
        await peer.request()
        # All in one packet, but the first record contains only the response.
        tls = cast(TLSStream, peer.stream)
        tls._ssl_object.write(OK)
        if after == "record":
            tls._ssl_object.write(b"HTTP/1.1 500 Smuggled\r\ncontent-length: 0\r\n\r\n")
        if after == "farewell":
            with suppress(ssl.SSLWantReadError):
                tls._ssl_object.unwrap()
        await tls.transport_stream.send(tls._write_bio.read() + (b"\xff" * 50 if after == "garbage" else b""))
        await tls.receive()

    async with listening(behave, context) as seen, DeliveryClient(guard(), ssl_context=trusting) as client:
        for _ in range(2):
            reply = await client.post(seen.url("hook.example.test", scheme="https"), [], b"{}")
            assert (reply.status, client.idle_connections) == (200, 0)
    assert seen.connections == 2


async def test_what_an_idle_connection_receives_does_not_answer_the_next_request() -> None:
    idle, timed_out = anyio.Event(), anyio.Event()

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await idle.wait()
        await peer.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        timed_out.set()
        await peer.stream.receive()

    async with listening(behave) as seen, DeliveryClient(guard()) as client:
        assert (await client.post(seen.url(), [], b"{}")).status == 200
        idle.set()
        await timed_out.wait()
        assert (await client.post(seen.url(), [], b"{}")).status == 200
    assert seen.connections == 2


async def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    async with listening(sending(OK)) as seen, DeliveryClient(guard()) as client:
        for turn in range(1, 4):
            assert (await client.post(seen.url(), [], b"{}")).status == 200
            await eventually(partial(lambda turn: seen.closed == turn, turn))
    assert seen.connections == 3


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_kept_connection_that_drops_a_request_immediately_is_replaced_once(way: str) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        if peer.number != 2:
            await peer.send(OK)
            await peer.request()
        if way == "reset":
            await peer.reset()

    async with listening(behave) as seen, DeliveryClient(guard()) as client:
        assert (await client.post(seen.url(), [], b"1")).status == 200
        # Both the kept connection and the new one drop it. This is reported, not retried forever.
        with pytest.raises(DeliveryFailed, match="connection"):
            await client.post(seen.url(), [], b"2")
        assert (await client.post(seen.url(), [], b"3")).status == 200
    assert [request.body for request in seen.requests] == [b"1", b"2", b"2", b"3"]


async def test_a_kept_connection_that_drops_a_request_late_may_have_read_it_and_is_not_replaced() -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await anyio.sleep(0.15)

    async with listening(behave) as seen, DeliveryClient(guard(), stale_seconds=0.05) as client:
        assert (await client.post(seen.url(), [], b"1")).status == 200
        with pytest.raises(DeliveryFailed, match="closed without a response"):
            await client.post(seen.url(), [], b"2")
    assert len(seen.requests) == 2


async def test_idle_connections_are_bounded_over_all_hosts_and_the_oldest_goes_first() -> None:
    async with listening() as seen, DeliveryClient(guard(), max_idle=2) as client:
        for host in ("a.test", "b.test", "a.test", "c.test"):
            await client.post(seen.url(host), [], b"{}")
            assert client.idle_connections <= 2
        await eventually(lambda: seen.hung_up == 1)
        assert seen.connections == 3
        await client.post(seen.url("a.test"), [], b"{}")
        assert seen.connections == 3
        await client.post(seen.url("b.test"), [], b"{}")
        assert seen.connections == 4


async def test_no_connection_is_kept_if_the_limit_is_zero() -> None:
    async with listening() as seen, DeliveryClient(guard(), max_idle=0) as client:
        for _ in range(3):
            await client.post(seen.url(), [], b"{}")
        assert (seen.connections, client.idle_connections) == (3, 0)


async def test_connections_that_are_idle_for_too_long_are_closed_without_another_request() -> None:
    async with listening() as seen, DeliveryClient(guard(), idle_seconds=0.2) as client:
        await client.post(seen.url("a.test"), [], b"{}")
        await client.post(seen.url("b.test"), [], b"{}")
        assert client.idle_connections == 2
        await eventually(lambda: client.idle_connections == 0 and seen.hung_up == 2)


async def test_connections_that_the_receiver_closed_are_dropped_without_another_request() -> None:
    async with listening(sending(OK)) as seen, DeliveryClient(guard(), idle_seconds=1) as client:
        await client.post(seen.url(), [], b"{}")
        await eventually(lambda: client.idle_connections == 0, within=0.9)


async def test_a_connection_has_a_maximum_age() -> None:
    async with listening() as seen, DeliveryClient(guard(), max_age=0.1) as client:
        for _ in range(2):
            await client.post(seen.url(), [], b"{}")
        assert seen.connections == 1
        await anyio.sleep(0.15)
        await client.post(seen.url(), [], b"{}")
        assert seen.connections == 2


async def test_leaving_the_client_closes_its_idle_connections() -> None:
    async with listening() as seen:
        async with DeliveryClient(guard()) as client:
            for host in ("a.test", "b.test"):
                await client.post(seen.url(host), [], b"{}")
        assert client.idle_connections == 0
        await eventually(lambda: seen.hung_up == 2)


async def test_a_cancelled_request_closes_its_connection_and_leaves_the_client_usable() -> None:
    async def behave(peer: Peer) -> None:
        if peer.number > 1:
            await answer_all(peer)
        await peer.request()
        await peer.request()

    async with listening(behave) as seen, DeliveryClient(guard()) as client:
        with anyio.move_on_after(0.1) as scope:
            await client.post(seen.url(), [], b"{}")
        assert scope.cancelled_caught
        await eventually(lambda: seen.hung_up == 1)
        assert (await client.post(seen.url(), [], b"{}")).status == 200


@pytest.mark.parametrize(
    ("rest", "body"),
    [(b"zz\r\n", b"abc"), (b"2\r\nde\r\n0\r\n\r\n", b"abcde"), (b"2\r\nd", b"abcd")],
    ids=["no length", "complete", "truncated"],
)
def test_chunks_of_a_sloppy_response_are_read_as_far_as_they_are_correct(rest: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nno colon\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = read_sloppily(head + b"3\r\nabc\r\n" + rest)
    assert found is not None
    assert found[1] == body
