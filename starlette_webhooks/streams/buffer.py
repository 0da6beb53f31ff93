"""The tails of all streams, in memory: a cache of the end of the log, bounded in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import anyio

from starlette_webhooks.events import Event
from starlette_webhooks.feed import Entry, Replay, StreamFilter

if TYPE_CHECKING:
    from starlette_webhooks.streams.connection import Connection

__all__ = ["Buffer", "Channel", "Frame", "History", "Past", "View", "batches", "encode_frame"]

SEND_FRAMES = 256
SEND_BYTES = 65_536
HISTORY_BYTES = 262_144
# What an event costs besides its bytes: the objects around it and its places in the indexes.
_OVERHEAD = 700
_MARKS = 16
_CHUNKS = 32


def encode_frame(event: Event) -> bytes:
    """An event as server-sent event: its id and its JSON in one line (HTML, "Interpreting an event stream")."""
    data = event.encode()
    if b"\n" in data or b"\r" in data:
        # JSON allows raw line ends between tokens only, where a space means the same.
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"id: %b\ndata: %b\n\n" % (event.id.encode(), data)


def batches(frames: Iterable[tuple[str, bytes]]) -> Iterable[tuple[str, bytes, int]]:
    """Join frames to what one send may carry: the last id, the bytes, how many frames."""
    parts: list[bytes] = []
    size = 0
    last = ""
    for identifier, data in frames:
        if parts and (size + len(data) > SEND_BYTES or len(parts) == SEND_FRAMES):
            yield last, b"".join(parts), len(parts)
            parts, size = [], 0
        parts.append(data)
        size += len(data)
        last = identifier
    if parts:
        yield last, b"".join(parts), len(parts)


class Frame:
    """An entry as it goes over the wire, encoded once for all."""

    __slots__ = ("data", "entry", "size")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.data = encode_frame(entry.event)
        self.size = len(self.data) + len(entry.event.payload) + _OVERHEAD


class Channel:
    """A tenant with streams.

    Attributes:
        last: The last entry that was published, whatever filters say.
        floor: The position before the first entry that was published.
    """

    __slots__ = ("floor", "last", "streams", "tenant", "views")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.views: dict[StreamFilter, View] = {}
        self.streams = 0
        self.last: Entry | None = None
        self.floor: int | None = None


class Past:
    """What a stream is sent before it goes live at `cursor`, leaving out what `replay` covers."""

    __slots__ = ("cursor", "frames", "more", "replay")

    def __init__(
        self, cursor: int, replay: Replay | None = None, frames: Sequence[tuple[str, bytes]] = (), *, more: bool = False
    ) -> None:
        self.cursor = cursor
        self.replay = replay
        self.frames = frames
        self.more = more


class History:
    """A replay that was read to its end, kept for the others that come back at the same time."""

    __slots__ = ("cursor", "frames", "index", "made", "replay", "size")

    def __init__(
        self, after: str, cursor: int, replay: Replay, frames: Sequence[tuple[str, bytes]], *, made: float
    ) -> None:
        self.cursor = cursor
        self.replay = replay
        self.frames = frames
        self.index = {after: 0} | {identifier: number for number, (identifier, _) in enumerate(frames, 1)}
        self.size = sum(len(data) for _, data in frames) + _OVERHEAD * (1 + len(frames))
        self.made = made


class View:
    """The events of a tenant that pass a filter. Streams with equal filters share it.

    Frames are numbered from `base` to before `end`; a stream is a cursor in these numbers.
    """

    __slots__ = (
        "_marks",
        "base",
        "channel",
        "end",
        "filter",
        "frames",
        "history",
        "index",
        "loading",
        "parked",
        "streams",
    )

    def __init__(self, channel: Channel, filter: StreamFilter) -> None:
        self.channel = channel
        self.filter = filter
        self.frames: dict[int, Frame] = {}
        self.index: dict[str, int] = {}
        self.base = 0
        self.end = 0
        self.history: History | None = None
        self.loading = anyio.Lock()
        self.streams = 0
        self.parked: dict[Connection, None] = {}
        self._marks: dict[str, int] = {}

    def mark(self, identifier: str) -> None:
        """Remember an event that was left out here, as streams were told to resume after it."""
        self._marks.pop(identifier, None)
        self._marks[identifier] = self.end
        if len(self._marks) > _MARKS:
            del self._marks[next(iter(self._marks))]

    def recall(self, identifier: str) -> Past | None:
        """What came after an event, if memory holds all of it."""
        last = self.channel.last
        cursor = self.index.get(identifier)
        if cursor is None:
            cursor = self._marks.get(identifier)
        if cursor is None and last is not None and last.event.id == identifier:
            cursor = self.end
        if cursor is not None and cursor >= self.base:
            return Past(cursor)
        history = self.history
        if history is None or history.cursor < self.base:
            return None
        start = history.index.get(identifier)
        return None if start is None else Past(history.cursor, history.replay, history.frames[start:])


class Buffer:
    """The frames of all views within one budget of bytes; the oldest go first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.size = 0
        self._order: deque[View] = deque()
        self._stale = 0
        self._chunks: dict[tuple[View, int, int], tuple[bytes, int]] = {}
        self._histories: dict[View, History] = {}
        self.history_size = 0

    def append(self, view: View, frame: Frame) -> None:
        """Add a frame, making room for it. Streams that lose frames by this have to read the log."""
        view.frames[view.end] = frame
        view.end += 1
        view.index[frame.entry.event.id] = view.end
        self._order.append(view)
        self.size += frame.size
        while self.size > self._limit:
            self._shift(self._order.popleft())

    def _shift(self, view: View) -> None:
        frame = view.frames.pop(view.base, None)
        if frame is None:
            self._stale -= 1
            return
        view.base += 1
        view.index.pop(frame.entry.event.id, None)
        self.size -= frame.size

    def clear(self, view: View) -> None:
        """Forget what is kept of a view. Streams that have not read it yet read the log."""
        self.size -= sum(frame.size for frame in view.frames.values())
        self._stale += len(view.frames)
        view.frames.clear()
        view.index.clear()
        view.base = view.end
        self._chunks.clear()
        self._forget(view)
        if self._stale > 1000 and self._stale * 2 > len(self._order):
            self._compact()

    def _compact(self) -> None:
        # Of a view that was cleared, the older places are the stale ones.
        left: dict[View, int] = {}
        order: deque[View] = deque()
        for view in reversed(self._order):
            kept = left.setdefault(view, len(view.frames))
            if kept:
                left[view] = kept - 1
                order.appendleft(view)
        self._order = order
        self._stale = 0

    def chunk(self, view: View, start: int) -> tuple[bytes, int]:
        """The frames from `start` on that one send carries, joined once for all, and where they end."""
        end = view.end
        if end - start == 1:
            return view.frames[start].data, end
        key = (view, start, end)
        chunk = self._chunks.get(key)
        if chunk is None:
            parts: list[bytes] = []
            size = 0
            for number in range(start, min(end, start + SEND_FRAMES)):
                data = view.frames[number].data
                if parts and size + len(data) > SEND_BYTES:
                    break
                parts.append(data)
                size += len(data)
            chunk = (b"".join(parts), start + len(parts))
            if len(parts) > 1:
                if len(self._chunks) >= _CHUNKS:
                    self._chunks.clear()
                self._chunks[key] = chunk
        return chunk

    def remember(self, view: View, history: History) -> None:
        """Keep a replay for a while. A quarter of the budget is for these."""
        self._forget(view)
        if history.size > self._limit // 4:
            return
        view.history = self._histories[view] = history
        self.history_size += history.size
        while self.history_size > self._limit // 4:
            self._forget(next(iter(self._histories)))

    def expire(self, before: float) -> None:
        """Forget the replays that were made before."""
        while self._histories:
            view, history = next(iter(self._histories.items()))
            if history.made >= before:
                return
            self._forget(view)

    def _forget(self, view: View) -> None:
        history = self._histories.pop(view, None)
        view.history = None
        if history is not None:
            self.history_size -= history.size
