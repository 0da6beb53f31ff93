"""Events as frames of a stream, and how much of them one send carries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from starlette_webhooks.events import Event
from starlette_webhooks.feed import Entry

__all__ = [
    "FRAME_OVERHEAD",
    "HEARTBEAT",
    "SEND_BYTES",
    "SEND_FRAMES",
    "Frame",
    "Piece",
    "encode_frame",
    "pieces",
    "response_start",
    "stream_headers",
]

HEARTBEAT = b": heartbeat\n\n"
# A server keeps what it could not send yet, so this is also what a reader that never reads costs, about twice.
SEND_BYTES = 65_536
SEND_FRAMES = 256
# What an event costs in addition to its bytes: the objects around it and its places in the indexes.
FRAME_OVERHEAD = 700

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    # `no-transform` and `x-accel-buffering` keep proxies from compressing and from holding frames back.
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]


def stream_headers() -> dict[str, str]:
    """The headers of every stream."""
    return dict(_HEADERS)


def response_start() -> dict[str, object]:
    """The start of the response, made anew each time, as middleware may change it."""
    return {"type": "http.response.start", "status": 200, "headers": list(_RAW_HEADERS)}


def encode_frame(event: Event) -> bytes:
    """An event as server-sent event: its id and its JSON in one line (HTML, "Interpreting an event stream")."""
    data = event.encode()
    if b"\n" in data or b"\r" in data:
        # JSON allows raw line ends between tokens only, where a space means the same.
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"id: %b\ndata: %b\n\n" % (event.id.encode(), data)


class Frame:
    """An entry as it goes over the wire, encoded once for all streams."""

    __slots__ = ("data", "entry", "size")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.data = encode_frame(entry.event)
        self.size = len(self.data) + len(entry.event.payload) + FRAME_OVERHEAD


class Piece(NamedTuple):
    """What one send carries.

    Attributes:
        frames: How many frames end in it.
        last: The id of the last of them, None where the piece ends inside a frame.
    """

    data: bytes
    frames: int
    last: str | None


def pieces(frames: Iterable[tuple[str, bytes]]) -> Iterator[Piece]:
    """Join small frames and divide large ones, so that no send carries more than `SEND_BYTES`."""
    parts: list[bytes] = []
    size = 0
    last = ""
    for identifier, data in frames:
        if parts and (size + len(data) > SEND_BYTES or len(parts) == SEND_FRAMES):
            yield Piece(b"".join(parts), len(parts), last)
            parts, size = [], 0
        last = identifier
        if len(data) > SEND_BYTES:
            yield from divide(identifier, data)
            continue
        parts.append(data)
        size += len(data)
    if parts:
        yield Piece(b"".join(parts), len(parts), last)


def divide(identifier: str, data: bytes) -> Iterator[Piece]:
    """The pieces of one large frame."""
    for start in range(0, len(data), SEND_BYTES):
        ends = start + SEND_BYTES >= len(data)
        yield Piece(data[start : start + SEND_BYTES], int(ends), identifier if ends else None)
