"""A tenant's events in memory: the end of the log, once per filter."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from starlette_webhooks.feed import Entry, Replay, StreamFilter
from starlette_webhooks.streams.frames import FRAME_OVERHEAD, Frame
from starlette_webhooks.waiting import Waiter

__all__ = ["HISTORY_BYTES", "History", "TenantFeed", "View"]

_MARKS = 16
HISTORY_BYTES = 262_144


class TenantFeed:
    """A tenant with streams.

    Attributes:
        streams: The number of open streams.
        last: The last published entry, regardless of filters.
    """

    __slots__ = ("last", "streams", "tenant", "views")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.views: dict[StreamFilter, View] = {}
        self.streams = 0
        self.last: Entry | None = None


class History:
    """A complete replay, kept for other streams that resume at the same time.

    It begins after the event `after`. A stream that has sent all of it goes live at `cursor`.
    """

    __slots__ = ("cursor", "forgotten", "frames", "index", "made", "replay", "size")

    def __init__(
        self, after: str, cursor: int, replay: Replay | None, frames: Sequence[tuple[str, bytes]], *, made: float
    ) -> None:
        self.cursor = cursor
        self.replay = replay
        self.frames = frames
        self.index = {after: 0} | {identifier: number for number, (identifier, _) in enumerate(frames, 1)}
        self.size = sum(len(data) for _, data in frames) + FRAME_OVERHEAD * (1 + len(frames))
        self.made = made
        self.forgotten = False

    def forget(self) -> None:
        """Free the memory, even if slow streams still refer to this object. They read the log instead."""
        self.forgotten = True
        self.frames = ()
        self.index = {}


class View:
    """The events of a tenant that match a filter. Streams with equal filters share it.

    Frames are numbered from `base` up to, but not including, `end`. The cursor of a stream is one of these numbers.

    Attributes:
        index: The number of the next frame, by event in memory.
        waiting: Streams that have sent everything. The next frame wakes them.
        loading: The lock of the stream that reads the log for all that resume.
    """

    __slots__ = (
        "_marks",
        "base",
        "end",
        "feed",
        "filter",
        "frames",
        "history",
        "index",
        "loading",
        "streams",
        "waiting",
    )

    def __init__(self, feed: TenantFeed, filter: StreamFilter) -> None:
        self.feed = feed
        self.filter = filter
        self.frames: dict[int, Frame] = {}
        self.index: dict[str, int] = {}
        self.base = 0
        self.end = 0
        self.history: History | None = None
        self.loading = anyio.Lock()
        self.streams = 0
        self.waiting: dict[Waiter, None] = {}
        self._marks: dict[str, int] = {}

    def mark(self, identifier: str) -> None:
        """Remember an event that does not match the filter, because streams may resume after it."""
        self._marks.pop(identifier, None)
        self._marks[identifier] = self.end
        if len(self._marks) > _MARKS:  # pragma: no cover  Needs thousands of events.
            del self._marks[next(iter(self._marks))]

    def leave_behind(self) -> None:
        """Have all streams read the log. Nothing may be in memory."""
        self.end += 1
        self.base = self.end
        self._marks.clear()

    def cursor_after(self, identifier: str) -> int | None:
        """Return where a stream continues after this event, if all later events are in memory."""
        cursor = self.index.get(identifier)
        if cursor is None:
            cursor = self._marks.get(identifier)
        last = self.feed.last
        if cursor is None and last is not None and last.event.id == identifier:
            cursor = self.end
        return cursor if cursor is not None and cursor >= self.base else None

    def history_after(self, identifier: str) -> tuple[History, int] | None:
        """Return the cached replay that contains this event, and the number of the next frame in it."""
        history = self.history
        # If the frames from its cursor on are gone, the replay would be followed by a gap.
        if history is None or history.cursor < self.base:
            return None
        start = history.index.get(identifier)
        return None if start is None else (history, start)
