"""The tail of the log: tells who listens of every commit, this process's at once and other processes' within 20 ms."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import anyio

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.feed import Entry, Gap, Listener, Replay, StreamFilter
from starlette_webhooks.stores.sqlite import log
from starlette_webhooks.stores.sqlite.database import MEMORY, Database, Write

__all__ = ["LogReplay", "Tail"]

logger = logging.getLogger("starlette_webhooks")

POLL = 0.02
_PAUSE = 0.5
_ROWS = 500


class Tail:
    """Follows the log while a tenant is watched."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listener: Listener | None = None
        self._watched: set[str] = set()
        self._high: int | None = None
        self._version: int | None = None
        self._watcher: sqlite3.Connection | None = None
        self._kick = anyio.Event()
        self._started = anyio.Event()
        database.on_commit.append(self._committed)

    def listen(self, listener: Listener) -> None:
        """Publish to this listener from now on."""
        self._listener = listener

    def watch(self, tenant: str) -> None:
        """The tenant has its first open stream."""
        self._watched.add(tenant)
        self._kick.set()

    def unwatch(self, tenant: str) -> None:
        """The tenant's last stream is gone."""
        self._watched.discard(tenant)

    async def run(self) -> None:
        """Follow the log for ever. Costs nothing while nobody watches."""
        try:
            while True:
                await self._kick.wait()
                self._kick = anyio.Event()
                while self._watched:
                    try:
                        await self._follow()
                    except (sqlite3.Error, BackendUnavailable) as exc:
                        logger.warning("Streams wait, since the database cannot be read: %s", exc)
                        self._version = None
                        await anyio.sleep(_PAUSE)
                self._started = anyio.Event()
                self._high = None
        finally:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None

    async def _follow(self) -> None:
        self._changed()
        # From here on all that commits is published: by `_committed` where it is contiguous, else by `_catch_up`.
        if self._high is None:
            self._high = await self._database.read(log.high_water)
        else:
            # After an error: on from where it stopped.
            await self._catch_up()
        self._started.set()
        while self._watched:
            with anyio.move_on_after(POLL):
                await self._kick.wait()
            if self._changed() or self._kick.is_set():
                self._kick = anyio.Event()
                await self._catch_up()

    def _changed(self) -> bool:
        # Own commits count as well, as the watcher is a connection apart.
        if self._database.path == MEMORY:
            return False
        if self._watcher is None:
            self._watcher = self._database.watcher()
        version: int = self._watcher.execute("PRAGMA data_version").fetchone()[0]
        changed = version != self._version
        self._version = version
        return changed

    async def _catch_up(self) -> None:
        while self._high is not None:
            entries = await self._database.read(partial(log.read_tail, after=self._high, limit=_ROWS))
            self._publish(entries)
            if len(entries) < _ROWS:
                return

    def _committed(self, writes: Sequence[Write[Any]]) -> None:
        if self._high is None:
            return
        fresh = [
            entry
            for write in writes
            if write.error is None and isinstance(write.result, log.Inserted)
            for entry in write.result.fresh
        ]
        if not fresh:
            # In memory no other connection sees what a write did besides its result.
            if self._database.path == MEMORY:
                self._kick.set()
            return
        if fresh[0].position == self._high + 1 and fresh[-1].position == self._high + len(fresh):
            self._publish(fresh)
        else:
            self._kick.set()

    def _publish(self, entries: Sequence[Entry]) -> None:
        # What was published while a page was read comes again with the page.
        high = self._high or 0
        new = (
            [entry for entry in entries if entry.position > high]
            if entries and entries[0].position <= high
            else entries
        )
        if not new:
            return
        self._high = new[-1].position
        if self._listener is not None:
            tenants = self._listener.tenants
            wanted = [entry for entry in new if entry.event.tenant in tenants]
            if wanted:
                self._listener.publish(wanted)

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> LogReplay:
        """What a stream has missed. The tenant must be watched."""
        # Only now is all that commits after the high-water mark sure to be published.
        await self._started.wait()
        return await self._database.read(partial(self._open, tenant=tenant, filter=filter, after=after))

    def _open(
        self, connection: sqlite3.Connection, tenant: str, filter: StreamFilter, after: str | int | None
    ) -> LogReplay:
        high = log.high_water(connection)
        gap = None
        if isinstance(after, str):
            position = log.locate(connection, tenant, after)
            if position is None:
                gap = Gap(after, log.oldest_event(connection, tenant))
            start = position or 0
        else:
            start = high if after is None else after
        replay = LogReplay(self._database, tenant, filter, start, high, gap)
        if after is None:
            replay.last_id = log.newest_event(connection, tenant)
        return replay


class LogReplay(Replay):
    """The log from a position to the high-water mark as of when the replay was opened."""

    def __init__(
        self, database: Database, tenant: str, filter: StreamFilter, after: int, until: int, gap: Gap | None
    ) -> None:
        self._database = database
        self._tenant = tenant
        self._filter = filter
        self._after = after
        self._until = until
        self.gap = gap

    def covers(self, entry: Entry) -> bool:
        """Whether the entry was committed before the replay was opened."""
        return entry.position <= self._until

    async def pages(self) -> AsyncIterator[Sequence[Event]]:
        """The events that pass the filter, in order of commits."""
        after, done = self._after, self._after >= self._until
        read = partial(log.read_replay, tenant=self._tenant, filter=self._filter, until=self._until)
        while not done:
            page = await self._database.read(partial(read, after=after))
            after, done = page.position, page.done
            # Also where nothing passed, so that who reads is heard of after each page.
            yield page.events
