"""A server on the bare transport that answers every POST immediately: the receiver of webhooks, and a stub of Svix.

It listens on all loopback addresses, so that 127.0.x.y are as many hosts. `/slow/<ms>` answers late, `/dead` with 500,
`/close` ends the connection. A GET tells how many POSTs came, when each first came, and the CPU time taken so far.

With a certificate it speaks TLS. As `sink` it does nothing but answer, for who needs the core that it runs on.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
import ssl
import sys
import time
from datetime import UTC, datetime

_ARRIVALS: dict[str, list[float]] = {}


class Receiver(asyncio.Protocol):
    """One connection, with keep-alive."""

    count = 0

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer complete requests."""
        self.buffer += data
        while (request := self._next()) is not None:
            self._answer(*request)

    def _next(self) -> tuple[bytes, bytes] | None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 : head.find(b"\r", at) % (len(head) + 1)]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return None
        whole = self.buffer[: end + 4 + length]
        self.buffer = self.buffer[end + 4 + length :]
        return whole[:end], whole[end + 4 :]

    def _answer(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        if method == b"GET":
            self._report(path)
            return
        Receiver.count += 1
        if path.startswith(b"/api/v1/"):
            self._respond(b"202 Accepted", _MESSAGE)
        elif path.startswith(b"/slow/"):
            self._arrived(path, body)
            asyncio.get_running_loop().call_later(int(path[6:]) / 1000, self._respond, b"200 OK", b"ok")
        elif path.startswith(b"/dead"):
            self._respond(b"500 Internal Server Error", b"no")
        elif path.startswith(b"/close"):
            self._respond(b"200 OK\r\nconnection: close", b"ok")
            self.transport.close()
        else:
            self._arrived(path, body)
            self._respond(b"200 OK", b"ok")

    def _arrived(self, path: bytes, body: bytes) -> None:
        # `~1234.5` in the data is when it was emitted.
        at = body.find(b"~")
        if at >= 0:
            sent = float(body[at + 1 : body.find(b'"', at)])
            _ARRIVALS.setdefault(path.decode(), []).append(time.time() - sent)

    def _report(self, path: bytes) -> None:
        report = _report(Receiver.count) | {"arrivals": _ARRIVALS if path == b"/arrivals" else {}}
        if path == b"/reset":
            Receiver.count = 0
            _ARRIVALS.clear()
        self._respond(b"200 OK", json.dumps(report).encode())

    def _respond(self, status: bytes, body: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(_response(body, status))


def _report(count: int) -> dict[str, object]:
    return {"count": count, "cpu": time.process_time()}


def _response(body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


_MESSAGE = json.dumps(
    {
        "id": "msg_2xYbnVn4gvBVd3z7qjHqSAPrGvi",
        "eventType": "invoice.payment_succeeded",
        "payload": {},
        "timestamp": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
    }
).encode()


async def main(port: int, certificate: str | None) -> None:
    """Serve forever."""
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Receiver, "0.0.0.0", port, backlog=4096, ssl=context)
    await server.serve_forever()


def sink(port: int) -> None:
    """Answer each request with the same bytes, on one epoll. Each read counts as one request."""
    answer, count = _response(b"ok"), 0
    listener = socket.create_server(("0.0.0.0", port), backlog=4096)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    open_sockets: dict[int, socket.socket] = {}
    while True:
        for fd, _ in epoll.poll():
            sock = open_sockets.get(fd)
            if sock is None:
                sock, _ = listener.accept()
                open_sockets[sock.fileno()] = sock
                epoll.register(sock, select.EPOLLIN)
                continue
            try:
                data = sock.recv(65536)
                if data.startswith(b"GET"):
                    sock.send(_response(json.dumps(_report(count)).encode()))
                elif data:
                    count += 1
                    sock.send(answer)
            except OSError:
                data = b""
            if not data:
                del open_sockets[fd]
                sock.close()


if __name__ == "__main__":
    if sys.argv[2:] == ["sink"]:
        sink(int(sys.argv[1]))
    else:
        asyncio.run(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
