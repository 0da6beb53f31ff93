"""Notices what other processes leave to this one: events that hosts committed, and deliveries that they do not make.

Each statement that this process repeats anyway, such as the scan for due deliveries, shows both as well, so an idle
process calls once a second. Once something was found, more of it usually follows, so it looks more often for a while.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import anyio

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.outbox.horizon import Horizon
from starlette_webhooks.stores.postgresql.database import Database

__all__ = ["Polling"]

_FILE = "polling.sql"
_IDLE = 1.0
# The dispatcher scans once a second.
_IDLE_BESIDE_SCANS = 1.5
_QUICK = 0.05
_QUICK_FOR = 5.0
# A scan may be slow, because many endpoints have deliveries or because somebody holds a transaction open.
_SCAN_SHARE = 0.05
# The count of a handover is visible a little before the commit that it belongs to.
_SCANS = 3


class Polling:
    """Looks at the database often enough, and tells the dispatcher and the mover of hosts' events.

    Args:
        delivers: Whether this process delivers.
        least_pause: Returns the seconds between two looks that leave enough calls for streams.
        hinted: Returns whether hints announce deliveries of other processes anyway.
        on_handover: Called when deliveries of another process may be due.

    Attributes:
        on_outbox: Called when events of hosts wait.
        horizon: Where the events of hosts begin.
    """

    def __init__(
        self,
        database: Database,
        *,
        delivers: bool,
        least_pause: Callable[[], float],
        hinted: Callable[[], bool],
        on_handover: Callable[[], None],
    ) -> None:
        self.on_outbox: Callable[[], None] = lambda: None
        self.horizon = Horizon()
        self._database = database
        self._delivers = delivers
        self._least_pause = least_pause
        self._hinted = hinted
        self._on_handover = on_handover
        self._queries = database.queries(_FILE)
        self._handovers: int | None = None
        self._scans = 0
        self._scan_seconds = 0.0
        self._outbox_seen = False
        self._looked_at = -math.inf
        self._scanned_at = -math.inf
        self._quick_until = -math.inf
        self._news = anyio.Event()

    def saw(self, handovers: int, outbox: bool) -> None:
        """Note what a statement showed: the count of handovers, and whether events of hosts wait."""
        self._looked_at = anyio.current_time()
        if self._delivers and self._handovers not in (None, handovers) and not self._hinted():
            self._scans = _SCANS
            self._hurry()
        self._handovers = handovers
        self._outbox_seen = outbox
        if outbox:
            self.on_outbox()

    def scanned(self, seconds: float) -> None:
        """Note that a scan of some endpoints took so long."""
        self._scanned_at = anyio.current_time()
        self._scan_seconds = seconds

    def moved(self) -> None:
        """Note that events of hosts were moved. If nobody announced them, the next ones are looked for more often."""
        if self._outbox_seen:
            self._outbox_seen = False
            self._hurry()

    async def hand_over(self) -> None:
        """Tell processes that deliver that there is something to do, if this one does not deliver."""
        if not self._delivers:
            # A scan finds it otherwise.
            with suppress(BackendUnavailable):
                await self._database.call(self._queries["hand_over"])

    def _hurry(self) -> None:
        self._quick_until = anyio.current_time() + _QUICK_FOR
        self._news.set()

    async def run(self) -> None:
        """Look forever."""
        # Each event loop has its own clock.
        self._looked_at = self._scanned_at = self._quick_until = -math.inf
        while True:
            at = self._next_scan if self._scans else self._next_look
            pause = at - anyio.current_time()
            if pause > 0:
                with anyio.move_on_after(pause):
                    await self._news.wait()
                self._news = anyio.Event()
            elif self._scans:
                self._scans -= 1
                self._scanned_at = anyio.current_time()
                self._on_handover()
            else:
                self._looked_at = anyio.current_time()
                await self._look()

    @property
    def _next_scan(self) -> float:
        return self._scanned_at + max(_QUICK, self._least_pause(), self._scan_seconds / _SCAN_SHARE)

    @property
    def _next_look(self) -> float:
        if anyio.current_time() < self._quick_until:
            return self._looked_at + max(_QUICK, self._least_pause())
        return self._looked_at + (_IDLE_BESIDE_SCANS if self._delivers else _IDLE)

    async def _look(self) -> None:
        try:
            ((handovers, outbox),) = await self._database.call(self._queries["look"], self.horizon.start.values)
        except BackendUnavailable:
            # Others say so.
            return
        self.saw(handovers, outbox)
