"""The events that a stream has missed: from memory, or from the log, a page at a time."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import anyio

from starlette_webhooks.budget import Budget, Reservation
from starlette_webhooks.concurrency import Turns
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendError
from starlette_webhooks.feed import REPLAY_BYTES, Gap, Replay, StreamFilter
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.problems import Problem
from starlette_webhooks.streams.frames import SEND_BYTES, encode_frame
from starlette_webhooks.streams.views import History, View

__all__ = ["Frames", "LogReader", "LogSource", "LoggedPast", "Past", "RememberedPast", "Unreadable"]

logger = logging.getLogger("starlette_webhooks.streams")

T = TypeVar("T")

Frames = Sequence[tuple[str, bytes]]

_CLOSE_TIMEOUT = 5.0
# While events are encoded as frames, both are in memory.
_COPIES = 2
# A part of a page is in memory again while it is sent: as it was cut off, and in the buffers of the server.
_BEING_SENT = 3 * SEND_BYTES


class Unreadable(Exception):
    """The log cannot be read. The cause has been logged.

    Attributes:
        reason: Why the stream ends: `failed`, or `crowded` if other streams use all of the memory.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LogSource(Protocol):
    """What streams need from a `Backend`."""

    def watch(self, tenant: str) -> None:
        """Note that a tenant has its first open stream."""

    def unwatch(self, tenant: str) -> None:
        """Note that a tenant's last stream has ended."""

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> Replay:
        """Return the events that a stream has missed."""


class Past:
    """The events to send before a stream goes live at `cursor`, without those in `replay`. This one is empty.

    Attributes:
        restarts: `LogReader.restarts` at the time of the search.
    """

    __slots__ = ("cursor", "replay", "restarts")

    def __init__(self, cursor: int, replay: Replay | None = None, *, restarts: int = 0) -> None:
        self.cursor = cursor
        self.replay = replay
        self.restarts = restarts

    @property
    def gap(self) -> Gap | None:
        """Set if the stream cannot resume after the requested event."""
        return None if self.replay is None else self.replay.gap

    @property
    def begins_after_event(self) -> bool:
        """Whether the stream has asked for a stored event, and misses nothing that came after it."""
        return self.gap is None and (self.replay is None or self.replay.last_id is None)

    async def read(self) -> Frames | None:
        """Return the next frames, or None at the end. Frees the previous ones.

        Raises:
            Unreadable: The log cannot be read.
        """
        return None

    @property
    def lost(self) -> bool:
        """Whether it ended early, so that the rest must be searched for again."""
        return False

    async def close(self) -> None:
        """Free all memory. May be called at any time."""


class RememberedPast(Past):
    """The rest of a replay that another stream has read. It does not keep the memory: a slow stream may lose it."""

    __slots__ = ("_history", "_next")

    def __init__(self, history: History, start: int) -> None:
        super().__init__(history.cursor, history.replay)
        self._history = history
        self._next = start

    async def read(self) -> Frames | None:
        """See `Past.read`."""
        frames = self._history.frames
        size, start, end = 0, self._next, self._next
        while end < len(frames) and size < SEND_BYTES:
            size += len(frames[end][1])
            end += 1
        self._next = end
        return frames[start:end] or None

    @property
    def lost(self) -> bool:
        """See `Past.lost`."""
        return self._history.forgotten


class LoggedPast(Past):
    """A replay of the log. Its frames count toward the memory budget of the process.

    Attributes:
        ahead: Frames that were read ahead.
        whole: Whether these are the last frames.
    """

    __slots__ = ("_log", "_pages", "_reservation", "_tenant", "ahead", "whole")

    def __init__(self, opened: Past, log: LogReader, tenant: str) -> None:
        super().__init__(opened.cursor, opened.replay, restarts=opened.restarts)
        assert opened.replay is not None
        self._log = log
        self._tenant = tenant
        self._pages: AsyncIterator[Sequence[Event]] = opened.replay.pages()
        self._reservation: Reservation | None = None
        self.ahead: Frames = ()
        self.whole = False

    async def read(self) -> Frames | None:
        """See `Past.read`. Empty if no event of a page matches the filter."""
        if not self.ahead and not self.whole:
            await self.read_ahead(0, most=1)
        frames, self.ahead = self.ahead, ()
        if not self.lost and (frames or not self.whole):
            return frames
        self._release()
        return None

    @property
    def lost(self) -> bool:
        """See `Past.lost`."""
        return self.restarts != self._log.restarts

    async def read_ahead(self, least: int, *, most: int) -> int:
        """Read pages until there are `least` bytes, but at most `most` pages. Returns the number of bytes."""
        self._release()
        self._reservation = await self._log.reserve(self._tenant, least)
        frames: list[tuple[str, bytes]] = []
        size = 0
        for _ in range(most):
            page = await self._log.next_page(self._tenant, self._pages)
            if page is None:
                self.whole = True
                break
            frames += [(event.id, encode_frame(event)) for event in page]
            size = sum(len(data) for _, data in frames)
            if size >= least:
                break
        self.ahead = frames
        self._reservation.resize(size + _BEING_SENT if size else 0)
        return size

    def _release(self) -> None:
        self.ahead = ()
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    async def close(self) -> None:
        """See `Past.close`."""
        self._release()
        aclose = getattr(self._pages, "aclose", None)
        if aclose is not None:
            with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                await aclose()


class LogReader:
    """Reads the log for all streams, within the memory budget and a limit of reads, which tenants share fairly.

    Args:
        event_bytes: The maximum size of an event.
        at_once: The maximum of concurrent reads. One tenant gets at most half of them.
        timeout: Seconds for one read, and for waiting for memory before it.

    Attributes:
        restarts: How often the numbering of positions has started again. See `Listener.restart`.
    """

    def __init__(
        self, source: LogSource, budget: Budget, *, event_bytes: int, at_once: int = 16, timeout: float = 10.0
    ) -> None:
        self.budget = budget
        self._source = source
        # A page ends with the event that exceeds its size.
        self._page_bytes = _COPIES * (REPLAY_BYTES + event_bytes)
        self._reads = anyio.Semaphore(at_once)
        self._turns = Turns(at_once // 2)
        self._timeout = timeout
        self._problem = Problem("Streams can read the log of events again.", level=logging.WARNING)
        self.restarts = 0

    async def open(self, view: View, after: str | int | None) -> Replay:
        """Open a replay after an id or a position. None means from now on.

        Raises:
            Unreadable: The log cannot be read.
        """
        tenant = view.feed.tenant
        read = partial(self._source.replay, tenant, view.filter, after)
        if after is None:
            # Only the position of the latest event is read.
            return await self._read(tenant, read)
        async with self._turns.of(tenant):
            return await self._read(tenant, read)

    async def next_page(self, tenant: str, pages: AsyncIterator[Sequence[Event]]) -> Sequence[Event] | None:
        """Return a page of a replay, or None at the end.

        Raises:
            Unreadable: The log cannot be read.
        """
        async with self._turns.of(tenant):
            return await self._read(tenant, lambda: anext(pages, None))

    async def reserve(self, tenant: str, ahead: int) -> Reservation:
        """Reserve memory for a page, and for this many bytes that were read before it.

        Raises:
            Unreadable: Other streams keep the memory for too long.
        """
        try:
            with anyio.fail_after(self._timeout):
                return await self.budget.reserve(tenant, ahead + self._page_bytes)
        except TimeoutError:  # pragma: no cover  Takes seconds.
            raise Unreadable("crowded") from None

    async def _read(self, tenant: str, read: Callable[[], Awaitable[T]]) -> T:
        """Call the backend. Cancellation does not interrupt it, unless it takes far too long."""
        async with self._reads:
            try:
                # A read that is cancelled may leave a connection of the store's pool in use.
                with anyio.fail_after(self._timeout, shield=True):
                    result = await read()
            except (BackendError, TimeoutError) as exc:
                why = str(exc) or f"It took more than {self._timeout:g} s."
                self._problem.begin(f"Streams end, since the log of events cannot be read: {why}")
                raise Unreadable("failed") from exc
            except Exception as exc:
                fields = log_fields("stream.ended", tenant=tenant)
                logger.warning("A stream ends because the log of events cannot be read.", exc_info=exc, extra=fields)
                raise Unreadable("failed") from exc
            self._problem.end()
            return result
