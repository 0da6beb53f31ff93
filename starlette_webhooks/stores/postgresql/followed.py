"""The log for the tail of a process, across restarts and failovers of the server.

A position is the number of earlier commits, so its meaning changes if a log has lost its end: on a standby that took
over before it had everything, or after restoring a backup. This cannot happen while the server runs and the tables
stay. Each answer therefore names its log (`webhooks.log_1`), and a new log counts only after the tail has found its
last event in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from starlette_webhooks.feed import Entry, StreamFilter
from starlette_webhooks.outbox.horizon import Horizon
from starlette_webhooks.stores.postgresql import log
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.tail import LogEnd, LogLost, LogReader, ReplayPage, ReplayStart

__all__ = ["FollowedLog"]


class FollowedLog(LogReader):
    """See `LogReader`.

    Args:
        spacing: Seconds between two reads of the tail.
        wake: Makes the tail read.
        saw: See `Polling.saw`.
        outbox: Where the events of hosts begin.

    Attributes:
        log: The log that contains everything that was published.
    """

    def __init__(
        self,
        database: Database,
        *,
        spacing: Callable[[], float],
        wake: Callable[[], None],
        saw: Callable[[int, bool], None],
        outbox: Horizon,
    ) -> None:
        self.log: str | None = None
        self._database = database
        self._spacing = spacing
        self._wake = wake
        self._saw = saw
        self._outbox = outbox
        self._read_at = 0.0
        self._compared = anyio.Event()

    async def high_water(self) -> LogEnd:
        """See `LogReader.high_water`."""
        end, read = await log.high_water(self._database)
        self._has_all(read)
        return end

    async def read_tail(self, after: LogEnd, limit: int) -> Sequence[Entry]:
        """See `LogReader.read_tail`."""
        await anyio.sleep(max(self._read_at + self._spacing() - anyio.current_time(), 0))
        self._read_at = anyio.current_time()
        page = await log.read_tail(self._database, self._outbox.start, after, limit)
        self._saw(page.handovers, page.outbox)
        if page.intact is False or (page.intact is None and page.log != self.log):
            raise LogLost
        self._has_all(page.log)
        if page.more:  # pragma: no cover  Needs as many events of another process as a page holds.
            self._wake()
        return page.entries

    def _has_all(self, read: str) -> None:
        if read != self.log:
            self.log = read
            self._compared.set()
            self._compared = anyio.Event()

    async def start_replay(self, tenant: str, after: str | int | None) -> ReplayStart:
        """See `LogReader.start_replay`."""
        start, read = await log.start_replay(self._database, tenant, after)
        if isinstance(after, int):
            await self._tail_has_read(read)
        return start

    async def read_replay(self, tenant: str, filter: StreamFilter, after: int, until: int) -> ReplayPage:
        """See `LogReader.read_replay`."""
        page, read = await log.read_replay(self._database, tenant, filter, after, until)
        if read is not None:
            await self._tail_has_read(read)
        return page

    async def _tail_has_read(self, read: str) -> None:
        """Wait until the tail has checked this log. If positions have changed, streams have then been notified."""
        while read != self.log:  # pragma: no cover  The log must be replaced between two reads.
            self._wake()
            await self._compared.wait()
