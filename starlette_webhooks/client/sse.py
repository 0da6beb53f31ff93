"""A parser of Server-Sent Events (HTML standard, section 9.2.6), without input or output.

Libraries return an empty event for each comment and each bare `id:`, and our streams have many of both.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Message", "SSEParser", "TooLarge"]


class TooLarge(Exception):
    """Raised for a message with more bytes than allowed."""


class Message(NamedTuple):
    """What a block of the stream means.

    Attributes:
        event: The type of the message: `message` by default.
        data: The text of the message. None for a block that only moves the position, by a bare `id:`.
        last_event_id: The id to resume after once the message has been handled.
    """

    event: str
    data: bytes | None
    last_event_id: str


class SSEParser:
    """Turns the bytes of one connection into messages.

    Args:
        last_event_id: The id that the stream was opened with.
        max_bytes: The maximum of bytes in a message, so that a wrong server cannot fill the memory.

    Attributes:
        retry: The last `retry:`, in milliseconds. None before the first one.
    """

    def __init__(self, last_event_id: str = "", *, max_bytes: int = 64 * 1024 * 1024) -> None:
        self.retry: int | None = None
        self._max_bytes = max_bytes
        self._size = 0
        # The end of the last chunk, if it is not a whole line.
        self._parts: list[bytes] = []
        self._after_cr = False
        self._begun = False
        self._event = b""
        self._data: list[bytes] = []
        self._last_id = self._last_event_id = last_event_id

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Yield the messages that end in this chunk. Must be iterated to its end.

        Raises:
            TooLarge: A message is larger than allowed.
        """
        if self._after_cr and chunk:
            # The line has ended with CR. The LF of a CRLF does not end another one.
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        for line in self._lines(chunk):
            if line:
                self._read(line)
            elif (message := self._dispatch()) is not None:
                yield message

    def _lines(self, chunk: bytes) -> list[bytes]:
        self._size += len(chunk)
        if self._size > self._max_bytes:
            raise TooLarge(f"A message of the stream has more than {self._max_bytes} bytes.")
        if b"\n" not in chunk and b"\r" not in chunk:
            if chunk:
                self._parts.append(chunk)
            return []
        text = b"".join((*self._parts, chunk))
        self._parts.clear()
        if not self._begun:
            self._begun = True
            text = text.removeprefix(codecs.BOM_UTF8)
        # For bytes, these are lines by CRLF, LF and CR, and by nothing else.
        lines = text.splitlines()
        if text[-1:] not in b"\r\n":
            self._parts.append(lines.pop())
        self._after_cr = text.endswith(b"\r")
        return lines

    def _read(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"id":
            if b"\0" not in value:
                self._last_id = value.decode(errors="replace")
        elif name == b"event":
            self._event = value
        elif name == b"retry" and value.isdigit():
            self.retry = int(value[:15])

    def _dispatch(self) -> Message | None:
        moved = self._last_id != self._last_event_id
        self._last_event_id = self._last_id
        event = self._event.decode(errors="replace") or "message"
        # A block with an empty `data:` is a message, and one without any is not.
        data = b"\n".join(self._data) if self._data else None
        self._event = b""
        self._data.clear()
        self._size = 0
        return Message(event, data, self._last_event_id) if moved or data is not None else None
