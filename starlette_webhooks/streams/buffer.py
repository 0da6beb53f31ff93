"""The frames of all views in memory: a cache of the end of the log with a maximum size in bytes."""

from __future__ import annotations

from collections import deque

from starlette_webhooks.streams.frames import SEND_BYTES, SEND_FRAMES, Frame
from starlette_webhooks.streams.views import History, View

__all__ = ["Buffer"]

_CHUNKS = 32
# Frames of cleared views stay in the order of all frames until there are this many of them.
_STALE = 1000


class Buffer:
    """The frames of all views, within one budget of bytes. The oldest are dropped first.

    Args:
        limit: The maximum of bytes of frames. Cached replays may use a quarter of it in addition.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.size = 0
        self._order: deque[View] = deque()
        self._stale = 0
        self._chunks: dict[tuple[View, int, int], tuple[bytes, int]] = {}
        self._histories: dict[View, History] = {}
        self.history_size = 0

    def append(self, view: View, frame: Frame) -> None:
        """Add a frame, dropping old ones if necessary. Streams that lose frames must read the log."""
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
        """Drop the frames of a view. Streams that have not read them yet read the log."""
        self.size -= sum(frame.size for frame in view.frames.values())
        self._stale += len(view.frames)
        view.frames.clear()
        view.index.clear()
        view.base = view.end
        self._chunks.clear()
        self._forget(view)
        if self._stale > _STALE and self._stale * 2 > len(self._order):
            self._compact()

    def _compact(self) -> None:
        # The older entries of a cleared view are the stale ones.
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
        """Return the frames from `start` that fit into one send, joined once for all streams, and where they end.

        A single frame may be larger than one send.
        """
        end = view.end
        if end - start == 1:
            return view.frames[start].data, end
        key = (view, start, end)
        chunk = self._chunks.get(key)
        if chunk is None:
            chunk = _join(view, start)
            if chunk[1] - start > 1:
                if len(self._chunks) >= _CHUNKS:
                    self._chunks.clear()
                self._chunks[key] = chunk
        return chunk

    def remember(self, view: View, history: History) -> None:
        """Cache a replay for some time."""
        self._forget(view)
        if history.size > self._limit // 4:
            return
        view.history = self._histories[view] = history
        self.history_size += history.size
        while self.history_size > self._limit // 4:
            self._forget(next(iter(self._histories)))

    def expire(self, before: float) -> None:
        """Drop the replays that are older."""
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
            history.forget()


def _join(view: View, start: int) -> tuple[bytes, int]:
    parts: list[bytes] = []
    size = 0
    for number in range(start, min(view.end, start + SEND_FRAMES)):
        data = view.frames[number].data
        if parts and size + len(data) > SEND_BYTES:
            break
        parts.append(data)
        size += len(data)
    return b"".join(parts), start + len(parts)
