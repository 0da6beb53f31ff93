"""The tail of the log: publishes every commit to the streams of this process, in order and without gaps.

All stores share this code. A store reports what its own commits inserted, and when other processes may have committed.
The tail reads the rest.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.feed import Entry, Gap, Listener, Replay, StreamFilter
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.problems import Problem

__all__ = ["LogEnd", "LogLost", "LogReader", "LogReplay", "ReplayPage", "ReplayStart", "Tail"]

logger = logging.getLogger("starlette_webhooks")

_PAUSE = 0.5
_ROWS = 500


class LogLost(Exception):
    """Raised when the log no longer contains what was read from it, for example after a failover or a restore."""


@dataclass(frozen=True, slots=True)
class LogEnd:
    """How far the log has been read: a position, and the id of the event there if that is known."""

    position: int
    id: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayStart:
    """Where a replay starts and ends.

    Attributes:
        after: The position after which it starts.
        until: The position of the last event committed, with which it ends.
        last_id: See `Replay.last_id`.
        missing: Whether the event to start after does not exist, and others that came after it may not exist either.
            `oldest` is then the first event that does.
        removed: The last position of the tenant that was removed before the snapshot.
    """

    after: int
    until: int
    last_id: str | None = None
    missing: bool = False
    oldest: str | None = None
    removed: int = 0


@dataclass(frozen=True, slots=True)
class ReplayPage:
    """Events in order, and the position up to which the log has been read.

    Attributes:
        removed: The last position of the tenant that was removed before the log was read.
    """

    events: Sequence[Event]
    position: int
    done: bool
    removed: int = 0


class LogReader(Protocol):
    """Reads a store's log by position. Positions are in order of commits, and become visible in that order."""

    async def high_water(self) -> LogEnd:
        """Return the last event that was committed and is kept."""

    async def read_tail(self, after: LogEnd, limit: int) -> Sequence[Entry]:
        """Return what all tenants committed after an event, in order.

        Raises:
            LogLost: The event may be another one than the one that was read, or may never have been there.
        """

    async def start_replay(self, tenant: str, after: str | int | None) -> ReplayStart:
        """Return where a replay starts and ends, from one snapshot. `after` as for `Backend.replay`.

        If the event to start after does not exist, the replay starts with the events whose ids are later. That is
        nothing for an id from the future, and everything for an id older than the oldest event or for an invalid id.
        See `TenantLog`.
        """

    async def read_replay(self, tenant: str, filter: StreamFilter, after: int, until: int) -> ReplayPage:
        """Return the next events between two positions that match the filter."""


class Tail:
    """Follows the log while a tenant is watched. Used on the event loop only.

    Args:
        rows: The number of events to read at a time.
        pause: Seconds to wait after an error of the store.
    """

    def __init__(
        self, reader: LogReader, listener: Listener | None = None, *, rows: int = _ROWS, pause: float = _PAUSE
    ) -> None:
        self._reader = reader
        self._listener = listener
        self._rows = rows
        self._pause = pause
        self._watched: set[str] = set()
        self._high: LogEnd | None = None
        self._lost = False
        self._wakeup = anyio.Event()
        self._started = anyio.Event()
        self._problem = Problem("Streams continue.", level=logging.WARNING)

    def listen(self, listener: Listener) -> None:
        """Publish to this listener from now on."""
        self._listener = listener

    def watch(self, tenant: str) -> None:
        """The tenant has its first open stream."""
        self._watched.add(tenant)
        self.wake()

    def unwatch(self, tenant: str) -> None:
        """Note that the tenant's last stream has ended."""
        self._watched.discard(tenant)
        if not self._watched:
            self.wake()

    @property
    def watching(self) -> bool:
        """Whether any tenant is watched."""
        return bool(self._watched)

    @property
    def following(self) -> bool:
        """Whether commits are published. If not, `committed` need not be called."""
        return self._high is not None

    def wake(self) -> None:
        """Note that something may have been committed."""
        self._wakeup.set()

    async def run(self) -> None:
        """Follow the log until cancelled. Costs nothing while no tenant is watched."""
        while True:
            while self._watched:
                try:
                    await self._follow()
                except LogLost:
                    text = "The database has lost events that were streamed. Streams compare and continue."
                    logger.warning(text, extra=log_fields("log.lost_events"))
                    self._high, self._lost = None, True
                except BackendUnavailable as exc:
                    self._problem.begin(f"Streams are waiting because the database cannot be read: {exc}")
                    await anyio.sleep(self._pause)
            self._started = anyio.Event()
            self._high = None
            self._lost = False
            await self._wakeup.wait()
            self._wakeup = anyio.Event()

    async def _follow(self) -> None:
        # From here on, every commit is published: by `committed` if it is contiguous, otherwise by `_catch_up`.
        if self._high is None:
            self._high = await self._reader.high_water()
            if self._lost:
                self._lost = False
                # What replays read from here on, and what is published, leave no gap between them.
                if self._listener is not None:  # pragma: no branch  Without streams, there is none.
                    self._listener.restart()
                self.wake()
        else:
            # After an error, continue where it stopped.
            await self._catch_up()
        self._started.set()
        self._problem.end()
        while self._watched:
            await self._wakeup.wait()
            self._wakeup = anyio.Event()
            await self._catch_up()

    async def _catch_up(self) -> None:
        while self._high is not None:
            entries = await self._reader.read_tail(self._high, self._rows)
            self._publish(entries)
            if len(entries) < self._rows:
                return

    def committed(self, entries: Sequence[Entry]) -> None:
        """Publish what this process has committed, in order of position."""
        if self._high is None or not entries:
            return
        high = self._high.position
        if entries[0].position == high + 1 and entries[-1].position == high + len(entries):
            self._publish(entries)
        else:
            # Another process committed in between.
            self.wake()

    def _publish(self, entries: Sequence[Entry]) -> None:
        # The page also contains what was published while it was read.
        high = 0 if self._high is None else self._high.position
        new = entries
        if entries and entries[0].position <= high:
            new = [entry for entry in entries if entry.position > high]
        if not new:
            return
        self._high = LogEnd(new[-1].position, new[-1].event.id)
        if self._listener is not None:
            tenants = self._listener.tenants
            wanted = [entry for entry in new if entry.event.tenant in tenants]
            if wanted:
                self._listener.publish(wanted)

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> LogReplay:
        """Return what a stream has missed. The tenant must be watched."""
        # From now on, everything that commits after the high-water mark is published.
        await self._started.wait()
        start = await self._reader.start_replay(tenant, after)
        return LogReplay(self._reader, tenant, filter, start, str(after))


class LogReplay(Replay):
    """The log from a position to the high-water mark at the time when the replay was opened."""

    def __init__(
        self, reader: LogReader, tenant: str, filter: StreamFilter, start: ReplayStart, requested: str
    ) -> None:
        self._reader = reader
        self._tenant = tenant
        self._filter = filter
        self._start = start
        self.gap = Gap(requested, start.oldest) if start.missing else None
        self.last_id = start.last_id
        self.position = start.until

    def covers(self, entry: Entry) -> bool:
        """Return whether the entry was committed before the replay was opened."""
        return entry.position <= self._start.until

    async def pages(self) -> AsyncIterator[Sequence[Event]]:
        """Yield the events that match the filter, in order of commits."""
        after, until = self._start.after, self._start.until
        done = after >= until
        while not done:
            page = await self._reader.read_replay(self._tenant, self._filter, after, until)
            if page.removed > max(after, self._start.removed):
                # The stream ends. It resumes after the last event that it has sent, and is told of the gap.
                raise BackendUnavailable("Events were removed before a stream has read them.")
            after, done = page.position, page.done
            # While the caller sends the page, this must not keep it in memory.
            events = [page.events]
            del page
            # Also if nothing matched, so that the caller knows that the reader is alive.
            yield events.pop()
