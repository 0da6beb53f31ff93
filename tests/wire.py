"""A receiver below HTTP that treats its connections as the test wants."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

from starlette_webhooks.delivery.addresses import AddressGuard
from starlette_webhooks.delivery.networks import Networks

LOOPBACK = ip_network("127.0.0.0/8")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Request:
    """A request as received."""

    head: bytes
    body: bytes

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Return the headers by name in lower case. A repeated name fails the test."""
        pairs = [line.split(b": ", 1) for line in self.head.split(b"\r\n")[1:]]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs)
        return headers


class Peer:
    """The receiver's end of a connection. `number` counts the connections from 1."""

    def __init__(self, stream: ByteStream, number: int, wire: Wire) -> None:
        self.stream = stream
        self.number = number
        self._wire = wire
        self._buffer = b""

    async def request(self) -> Request:
        """Return the next request, read completely. Raises `anyio.EndOfStream` when the client has disconnected."""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += await self.stream.receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        size = int(Request(head, b"").headers[b"content-length"])
        while len(self._buffer) < size:
            self._buffer += await self.stream.receive()
        request = Request(head, self._buffer[:size])
        self._buffer = self._buffer[size:]
        self._wire.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        """Send these bytes."""
        await self.stream.send(data)

    async def drip(self, data: Iterable[int]) -> None:
        """Send a byte every 20 ms."""
        for byte in data:
            await self.stream.send(bytes([byte]))
            await anyio.sleep(0.02)

    async def reset(self) -> None:
        """End the connection with a reset."""
        sock = self.stream.extra(SocketAttribute.raw_socket)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.stream.aclose()


Behaviour = Callable[[Peer], Awaitable[None]]


@dataclass
class Wire:
    """What a receiver has received on its connections."""

    port: int = 0
    connections: int = 0
    hung_up: int = 0
    closed: int = 0
    requests: list[Request] = field(default_factory=list)

    def url(self, host: str = "127.0.0.1", path: str = "/hook", scheme: str = "http") -> str:
        """The URL of this receiver."""
        return f"{scheme}://{host}:{self.port}{path}"


async def answer_all(peer: Peer) -> None:
    """Answer every request like a friendly receiver."""
    while True:
        await peer.request()
        await peer.send(OK)


def answer_with(data: bytes) -> Behaviour:
    """Answer one request on each connection with these bytes, and close it."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)

    return behave


@asynccontextmanager
async def listening(behave: Behaviour = answer_all, context: ssl.SSLContext | None = None) -> AsyncGenerator[Wire]:
    """Run a receiver on its own port. A connection is closed when `behave` returns."""
    seen = Wire()

    async def handle(stream: ByteStream) -> None:
        seen.connections += 1
        async with stream:
            try:
                await behave(Peer(stream, seen.connections, seen))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, ssl.SSLError):
                seen.hung_up += 1
        seen.closed += 1

    async def ignore(error: BaseException, stream: ByteStream) -> None:
        with suppress(Exception):
            await stream.aclose()

    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=256)
    seen.port = tcp.extra(SocketAttribute.local_port)
    listener = tcp if context is None else TLSListener(tcp, context, standard_compatible=False, handshake_timeout=5)
    if isinstance(listener, TLSListener):
        listener.handle_handshake_error = ignore  # type: ignore[method-assign,assignment]
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        yield seen
        tasks.cancel_scope.cancel()


def guard(*answers: list[str] | OSError, opened: bool = True) -> AddressGuard:
    """Return a guard that allows loopback. Its resolver returns these answers in turn, and then always the last one."""
    waiting = list(answers) or [["127.0.0.1"]]

    async def resolve(host: str, port: int) -> list[str]:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    return AddressGuard(Networks([LOOPBACK] if opened else []), resolve=resolve)
