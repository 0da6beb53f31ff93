"""Decides by a lease which of the processes on all machines relays.

Behind a pooler, a session's lock could be lost silently. A lease therefore has a term, and records of an earlier term
are refused, so that a process that was suspended does no harm when it continues.
"""

from __future__ import annotations

import logging
from uuid import uuid4

import anyio

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.relay.outbox import Lock
from starlette_webhooks.stores.postgresql.database import Database

__all__ = ["RelayLease"]

logger = logging.getLogger("starlette_webhooks")

_LEAVE_WITHIN = 1.0


class RelayLease(Lock):
    """The lease of the relay.

    Args:
        seconds: The length of the lease. A process that dies is replaced within 4/3 of it.

    Attributes:
        term: Counts the holders. No other process has the lease while this is the last term.
    """

    def __init__(self, database: Database, time: TimeSource, *, seconds: float = 2.4) -> None:
        self._seconds = seconds
        self._database = database
        self._time = time
        self._holder = uuid4().hex
        self._until: float | None = None
        self.term = 0

    @property
    def held(self) -> bool:
        """See `Lock.held`. Uses this process's clock, which started counting before the server's."""
        return self._until is not None and self._time.monotonic() < self._until

    async def acquire(self) -> None:
        """See `Lock.acquire`."""
        while not await self._take():
            await self._time.sleep(self._seconds / 3)

    async def _take(self) -> bool:
        asked = self._time.monotonic()
        values = {"holder": self._holder, "seconds": self._seconds}
        rows = await self._database.call(self._database.queries("outbox.sql")["take_relay"], values)
        if not rows:
            return False
        self.term, self._until = rows[0][0], asked + self._seconds
        return True

    async def keep(self) -> None:
        """See `Lock.keep`."""
        while self.held:
            await self._time.sleep(self._seconds / 3)
            try:
                if not await self._take():
                    break
            except BackendUnavailable as exc:
                if not self.held:
                    raise BackendUnavailable(f"The lease of the relay could not be renewed: {exc}") from exc
        text = "Another process relays now, because this one was suspended for too long."
        logger.warning(text, extra=log_fields("relay.lost"))

    async def release(self) -> None:
        """See `Lock.release`."""
        held, self._until = self.held, None
        if not held:
            return
        with anyio.move_on_after(_LEAVE_WITHIN, shield=True):
            try:
                await self._database.call(self._database.queries("outbox.sql")["leave_relay"], (self._holder,))
            except BackendUnavailable as exc:
                fields = log_fields("relay.not_released")
                logger.warning("The next process must wait until the lease of the relay ends: %s", exc, extra=fields)
