"""One HTTP/1.1 connection to an untrusted receiver, with one exchange at a time.

Everything that the receiver can make large or endless is limited here, except time: the caller has the deadline.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from collections.abc import Sequence

import h11
from anyio import BrokenResourceError, CancelScope, EndOfStream
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute

from starlette_webhooks.concurrency import task_group
from starlette_webhooks.delivery.addresses import ParsedURL
from starlette_webhooks.delivery.failures import DeliveryFailed, Dropped, own_fault, tls_reason
from starlette_webhooks.delivery.sloppy import read_sloppily

__all__ = ["RESERVED_HEADERS", "Connection", "build_request"]

RESERVED_HEADERS = frozenset(
    b"accept-encoding connection content-length expect host keep-alive proxy-authorization proxy-connection te trailer"
    b" transfer-encoding upgrade".split()
)
"""Headers, in lower case, that the client sets itself or that would change how the request is framed."""

_MAX_HEAD = 16_384
_MAX_FRAMING = 16_384
_MAX_INFORMATIONAL = 8
_READ = 4096
_ONE_WRITE = 16_384
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
# h11 checks every header separately, a quarter of the cost of an exchange. Requests are therefore written and checked
# here, and h11 gets this one instead, so that it expects a response.
_STAND_IN = h11.Request(method=b"POST", target=b"/", headers=[(b"host", b"stand.in"), (b"content-length", b"0")])


class Connection:
    """An open connection.

    Attributes:
        key: The tenant, scheme, host and port that it was opened for.
        peer: The IP address that it is connected to; empty for one through a proxy.
        born, expires: In seconds of the monotonic clock. The pool sets `expires`.
        reusable: Whether it is ready for another exchange.
    """

    __slots__ = (
        "_drained",
        "_http",
        "_received",
        "_sloppy",
        "_socket",
        "_stream",
        "_tls",
        "born",
        "expires",
        "key",
        "peer",
        "reusable",
    )

    def __init__(self, key: tuple[str, str, str, int], peer: str, stream: ByteStream) -> None:
        self.key = key
        self.peer = peer
        self._stream = stream
        self._socket: socket.socket = stream.extra(SocketAttribute.raw_socket)
        self._tls: ssl.SSLObject | None = stream.extra(TLSAttribute.ssl_object, None)
        self._http = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self.born = time.monotonic()
        self.expires = 0.0
        self.reusable = False
        self._drained = False
        self._received = bytearray()
        self._sloppy = False

    async def close(self) -> None:
        """Close the connection immediately, without a closing handshake."""
        with CancelScope(shield=True):
            await self._stream.aclose()

    def is_silent(self) -> bool:
        """Return whether the peer has neither closed an idle connection nor sent anything unasked."""
        descriptor = self._socket.fileno()
        if descriptor < 0:  # pragma: no cover - only where the event loop has closed it by itself
            return False
        if not hasattr(select, "poll"):  # pragma: no cover - Windows
            return not select.select([descriptor], [], [], 0)[0]
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return not poll.poll(0)

    async def exchange(self, request: bytes, limit: int) -> tuple[h11.Response, bytes]:
        """Send a whole request and return the response with the first `limit` bytes of its body.

        Raises:
            Dropped: The connection ended before a response began.
            DeliveryFailed: The received data is not a response.
            OutOfResources: The system had no memory for the exchange.
        """
        self.reusable = False
        self._http.send(_STAND_IN)
        self._http.send(h11.EndOfMessage())
        if len(request) <= _ONE_WRITE:
            sent = await self._send(request)
            head, content, complete = await self._receive(limit)
        else:
            sent, (head, content, complete) = await self._send_and_receive(request, limit)
        self.reusable = sent and complete and self._rest()
        return head, content

    async def _send(self, data: bytes) -> bool:
        """Send the request and return whether all of it was sent. If not, there may still be a response."""
        try:
            await self._stream.send(data)
        except (BrokenResourceError, ssl.SSLError) as exc:
            if (ours := own_fault(exc)) is not None:
                raise ours from exc
            return False
        return True

    async def _send_and_receive(self, data: bytes, limit: int) -> tuple[bool, tuple[h11.Response, bytes, bool]]:
        """Send and receive concurrently, since a receiver may answer before it has read everything, as with 413."""
        sent = False

        async def send() -> None:
            nonlocal sent
            sent = await self._send(data)

        async with task_group() as tasks:
            tasks.start_soon(send)
            received = await self._receive(limit)
            tasks.cancel_scope.cancel()
        return sent, received

    async def _receive(self, limit: int) -> tuple[h11.Response, bytes, bool]:
        """Return the response, its body up to the limit, and whether that was the whole body."""
        try:
            head = await self._receive_head()
        except DeliveryFailed:
            told = read_sloppily(bytes(self._received))
            if told is None:
                raise
            return told[0], told[1][:limit], False
        finally:
            self._received.clear()
        body = bytearray()
        # With chunks of one byte, much more than the body is received.
        budget = limit + _MAX_FRAMING
        try:
            while len(body) <= limit:
                event = self._http.next_event()
                if event is h11.NEED_DATA and budget > 0:
                    data = await self._receive_some()
                    budget -= len(data)
                    self._http.receive_data(data)
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    return head, bytes(body), isinstance(event, h11.EndOfMessage)
        except (Dropped, h11.RemoteProtocolError):
            # The receiver has answered. A truncated body does not change that, since it is only displayed.
            pass
        return head, bytes(body[:limit]), False

    async def _receive_head(self) -> h11.Response:
        informational = 0
        while True:
            event = self._next_of_head()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._receive_some_of_head())
            elif isinstance(event, h11.Response) and event.http_version.startswith(b"1."):
                return event
            elif isinstance(event, h11.InformationalResponse) and informational < _MAX_INFORMATIONAL:
                informational += 1
            else:
                raise DeliveryFailed("not an HTTP/1.1 response")

    async def _receive_some_of_head(self) -> bytes:
        untouched = not self._received
        while len(self._received) <= _MAX_HEAD:
            try:
                data = await self._receive_some()
            except Dropped as exc:
                raise exc if untouched else DeliveryFailed(exc.reason) from None
            if untouched and not data:
                raise Dropped("connection closed without a response")
            begun = bool(self._received.strip(b"\r\n"))
            self._received += data
            if begun or not data:
                return data
            # h11 would treat line ends before the status line as an empty head.
            rest = data.lstrip(b"\r\n")
            self._sloppy = self._sloppy or len(rest) < len(data)
            if rest:
                return rest
        raise DeliveryFailed("response headers are too large")

    def _next_of_head(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as exc:
            # h11 marks this case with 431, "request header fields too large".
            too_large = exc.error_status_hint == 431
            reason = "response headers are too large" if too_large else "not an HTTP/1.1 response"
            raise DeliveryFailed(reason) from None

    async def _receive_some(self) -> bytes:
        try:
            data = await self._stream.receive(_READ)
        except EndOfStream:
            return b""
        except BrokenResourceError as exc:
            if (ours := own_fault(exc)) is not None:
                raise ours from exc
            raise Dropped("connection reset") from None
        except ssl.SSLError as exc:
            raise Dropped(tls_reason(exc)) from None
        # The rest waits inside AnyIO, where `is_silent` cannot see it.
        self._drained = len(data) < _READ
        return data

    def _rest(self) -> bool:
        """Prepare for the next request. Returns False if this connection cannot be used again."""
        http = self._http
        if self._sloppy:
            return False
        # Bytes after the response would be read as the response to the next request.
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE or http.trailing_data != (b"", False):
            return False
        if not self._drained or (self._tls is not None and _has_more(self._tls)):
            return False
        http.start_next_cycle()
        return True


def _has_more(tls: ssl.SSLObject) -> bool:
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        return True
    return True


def build_request(target: ParsedURL, headers: Sequence[tuple[bytes, bytes]], size: int) -> bytes:
    """Return the head of a POST request with a body of `size` bytes.

    Raises:
        DeliveryFailed: A header is reserved or malformed.
    """
    lines = [b"POST %s HTTP/1.1\r\nhost: %s\r\n" % (target.target, target.authority)]
    for name, value in headers:
        if name.lower() in RESERVED_HEADERS:
            raise DeliveryFailed(f"header is not allowed: {name.decode('latin-1')}")
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise DeliveryFailed("header is malformed")
        lines.append(b"%s: %s\r\n" % (name, value))
    lines.append(b"accept-encoding: identity\r\ncontent-length: %d\r\n\r\n" % size)
    return b"".join(lines)
