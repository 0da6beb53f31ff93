"""Encodes events as frames of a stream, and splits frames into sends."""

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
# A server buffers what it could not send yet, so a reader that never reads costs about twice this much memory.
SEND_BYTES = 65_536
SEND_FRAMES = 256
# The memory of an event in addition to its bytes: objects and index entries.
FRAME_OVERHEAD = 700

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    # `no-transform` and `x-accel-buffering` keep proxies from compressing and buffering frames.
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]


def stream_headers() -> dict[str, str]:
    """Return the headers of every stream."""
    return dict(_HEADERS)


def response_start() -> dict[str, object]:
    """Return the start of the response. A new one each time, because middleware may change it."""
    return {"type": "http.response.start", "status": 200, "headers": list(_RAW_HEADERS)}


def encode_frame(event: Event) -> bytes:
    """Encode an event as a server-sent event: its id, and its JSON in one line (HTML, section 9.2)."""
    head, payload, tail = event.encode_parts()
    if b"\n" in payload or b"\r" in payload:
        # JSON allows raw line ends only between tokens, where a space means the same.
        payload = payload.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"".join((b"id: ", event.id.encode(), b"\ndata: ", head, payload, tail, b"\n\n"))


class Frame:
    """An encoded entry, shared by all streams."""

    __slots__ = ("data", "entry", "size")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.data = encode_frame(entry.event)
        self.size = len(self.data) + len(entry.event.payload) + FRAME_OVERHEAD


class Piece(NamedTuple):
    """The content of one send.

    Attributes:
        frames: How many frames end in it.
        last: The id of the last of them, or None if the piece ends inside a frame.
    """

    data: bytes
    frames: int
    last: str | None


def pieces(frames: Iterable[tuple[str, bytes]]) -> Iterator[Piece]:
    """Join small frames and divide large ones, so that no send has more than `SEND_BYTES`."""
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
    """Yield the pieces of one large frame."""
    for start in range(0, len(data), SEND_BYTES):
        ends = start + SEND_BYTES >= len(data)
        yield Piece(data[start : start + SEND_BYTES], int(ends), identifier if ends else None)
