"""Pages of events within the memory budget of the process. A page can have megabytes, and its client can be slow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import anyio

from starlette_webhooks.budget import Budget, Reservation
from starlette_webhooks.events import Event, EventPage
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.limits import PAGE_BYTES
from starlette_webhooks.streams.transports import find_transport

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["EventPageResponse", "read_page"]

_WAIT = 10.0
# A page is in memory twice: as it was read, and as it is sent.
_COPIES = 2
_CHUNK = 65_536
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]


class EventPageResponse:
    """Sends a page in chunks, each of which the client must read in time, then frees its memory.

    Args:
        reservation: The memory of the page.
        timeout: Seconds for which the client may block. A whole page must not take much longer than a second per chunk.
    """

    def __init__(self, page: EventPage, reservation: Reservation, *, timeout: float) -> None:
        # The bytes that were encoded when the events were emitted.
        cursor = b"null" if page.next_cursor is None else b'"%b"' % page.next_cursor.encode()
        done = b"true" if page.done else b"false"
        self._parts = [b'{"events":[', *_separated(page.items), b'],"nextCursor":%b,"done":%b}' % (cursor, done)]
        self._size = sum(map(len, self._parts))
        self._reservation = reservation
        self._timeout = timeout
        reservation.shrink(self._size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        with self._reservation:
            headers = [*_HEADERS, (b"content-length", b"%d" % self._size)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                with anyio.fail_after(self._timeout + self._size / _CHUNK):
                    for chunk in _chunks(self._parts):
                        await self._send_body(send, chunk, more=True)
                    # Only now has the client read most of it: servers wait before a message, not after it.
                    await self._send_body(send, b"", more=False)
            except TimeoutError:
                self._abort(receive)

    async def _send_body(self, send: Send, chunk: bytes, *, more: bool) -> None:
        with anyio.fail_after(self._timeout):
            await send({"type": "http.response.body", "body": chunk, "more_body": more})

    def _abort(self, receive: Receive) -> None:
        """Reset the connection of a client that does not read in time."""
        transport = find_transport(receive)
        if transport is not None:
            transport.abort()


def _separated(events: Sequence[Event]) -> Iterator[bytes]:
    for number, event in enumerate(events):
        if number:
            yield b","
        yield event.encode()


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


async def read_page(
    read: Callable[[], Awaitable[EventPage]], budget: Budget, *, tenant: str, most: int, timeout: float
) -> EventPageResponse:
    """Read a page once there is memory for it.

    Args:
        most: The maximum size of a page: the number of events times the size of an event.
        timeout: See `EventPageResponse`.

    Raises:
        BackendUnavailable: Other clients use the memory for too long.
    """
    try:
        with anyio.fail_after(_WAIT):
            reservation = await budget.reserve(tenant, min(most, PAGE_BYTES) * _COPIES)
    except TimeoutError:
        raise BackendUnavailable("Other lists and streams use all memory for pages. Try again later.") from None
    try:
        return EventPageResponse(await read(), reservation, timeout=timeout)
    except BaseException:
        reservation.release()
        raise
