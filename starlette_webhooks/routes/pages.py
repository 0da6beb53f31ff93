"""Large responses within the memory budget of the process. A page can have megabytes, and its client can be slow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import anyio
from starlette.responses import Response

from starlette_webhooks.budget import Budget, Reservation
from starlette_webhooks.events import Event, EventPage
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.limits import PAGE_BYTES
from starlette_webhooks.streams.transports import find_transport

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["EventPageResponse", "LargeResponse", "bounded", "read_event", "read_page", "reserve"]

_WAIT = 10.0
# While a page is read, it may be in memory twice: as the driver of the database received it, and as it is sent.
_COPIES = 2
_CHUNK = 65_536
# A chunk is in memory again while it is sent: as it was cut off, and in the buffers of the server.
_BEING_SENT = 3 * _CHUNK
# What servers keep for any response. Smaller ones are not worth a second look.
_SMALL = 65_536
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]


class LargeResponse:
    """Sends a body in chunks, each of which the client must read in time, then frees its memory.

    Args:
        parts: The body.
        headers: Without the length.
        reservation: The memory of the body. None if it is shared by all responses.
        timeout: Seconds for which the client may block. A whole body must not take much longer than a second per chunk.
    """

    def __init__(
        self,
        parts: Sequence[bytes],
        reservation: Reservation | None,
        *,
        timeout: float,
        status: int = 200,
        headers: Sequence[tuple[bytes, bytes]] = _HEADERS,
    ) -> None:
        self._parts = parts
        self._size = sum(map(len, parts))
        self._reservation = reservation
        self._timeout = timeout
        self._status = status
        self._headers = headers
        if reservation is not None:
            reservation.resize(self._size + _BEING_SENT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        with self._reservation or nullcontext(), anyio.CancelScope() as sending:
            if self._reservation is not None:
                self._reservation.may_end(sending)
            headers = [*self._headers, (b"content-length", b"%d" % self._size)]
            await send({"type": "http.response.start", "status": self._status, "headers": headers})
            try:
                with anyio.fail_after(self._timeout + self._size / _CHUNK):
                    for chunk in _chunks(self._parts):
                        await self._send_body(send, chunk, more=True)
                    # Only now has the client read most of it: servers wait before a message, not after it.
                    await self._send_body(send, b"", more=False)
            except TimeoutError:
                self._abort(receive)
        if sending.cancelled_caught:
            self._abort(receive)

    async def _send_body(self, send: Send, chunk: bytes, *, more: bool) -> None:
        with anyio.fail_after(self._timeout):
            await send({"type": "http.response.body", "body": chunk, "more_body": more})
        if self._reservation is not None:
            self._reservation.use()

    def _abort(self, receive: Receive) -> None:
        """Reset the connection of a client that does not read in time."""
        transport = find_transport(receive)
        if transport is not None:
            transport.abort()


class EventPageResponse(LargeResponse):
    """A page of events, as they were encoded when they were emitted."""

    def __init__(self, page: EventPage, reservation: Reservation, *, timeout: float) -> None:
        cursor = b"null" if page.next_cursor is None else b'"%b"' % page.next_cursor.encode()
        done = b"true" if page.done else b"false"
        parts = [b'{"events":[', *_separated(page.items), b'],"nextCursor":%b,"done":%b}' % (cursor, done)]
        super().__init__(parts, reservation, timeout=timeout)


def _separated(events: Sequence[Event]) -> Iterator[bytes]:
    for number, event in enumerate(events):
        if number:
            yield b","
        # A large payload is not copied.
        yield from event.encode_parts() if len(event.payload) > _CHUNK else (event.encode(),)


def _chunks(parts: Iterable[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        for start in range(0, len(part), _CHUNK):
            waiting.append(part[start : start + _CHUNK])
            size += len(waiting[-1])
            if size >= _CHUNK:
                yield b"".join(waiting)
                waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


async def bounded(response: ASGIApp, budget: Budget, *, tenant: str | None, timeout: float) -> ASGIApp:
    """Return a response that sends a large body within the memory budget, and any other response as it is.

    A server would keep the whole body for a client that does not read, for as long as the client likes.

    Args:
        tenant: For whom the body was made. None for a body that all responses share.

    Raises:
        BackendUnavailable: Other clients use the memory for too long.
    """
    if not isinstance(response, Response) or len(response.body) <= _SMALL:
        return response
    reservation = None if tenant is None else await reserve(budget, tenant, len(response.body) + _BEING_SENT)
    headers = [(name, value) for name, value in response.raw_headers if name != b"content-length"]
    return LargeResponse(
        [bytes(response.body)], reservation, timeout=timeout, status=response.status_code, headers=headers
    )


async def read_page(
    read: Callable[[], Awaitable[EventPage]], budget: Budget, *, tenant: str, most: int, timeout: float
) -> EventPageResponse:
    """Read a page once there is memory for it.

    Args:
        most: The maximum size of a page: the number of events times the size of an event.
        timeout: See `LargeResponse`.

    Raises:
        BackendUnavailable: Other clients use the memory for too long.
    """
    reservation = await reserve(budget, tenant, min(most, PAGE_BYTES) * _COPIES)
    try:
        return EventPageResponse(await read(), reservation, timeout=timeout)
    except BaseException:
        reservation.release()
        raise


async def read_event(
    read: Callable[[], Awaitable[Event]], budget: Budget, *, tenant: str, most: int, timeout: float
) -> LargeResponse:
    """Read an event once there is memory for it. See `read_page`.

    Args:
        most: The maximum size of an event.
    """
    reservation = await reserve(budget, tenant, most * _COPIES)
    try:
        return LargeResponse((await read()).encode_parts(), reservation, timeout=timeout)
    except BaseException:
        reservation.release()
        raise


async def reserve(budget: Budget, tenant: str, size: int) -> Reservation:
    """Wait for memory.

    Raises:
        BackendUnavailable: Other clients use the memory for too long.
    """
    try:
        with anyio.fail_after(_WAIT):
            return await budget.reserve(tenant, size)
    except TimeoutError:  # pragma: no cover  Takes seconds.
        raise BackendUnavailable("Other lists and streams use all memory for pages. Try again later.") from None
