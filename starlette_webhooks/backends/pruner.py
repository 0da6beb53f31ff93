"""Removes events that are older than the retention, every hour, but not right after the clock was set."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import anyio

from starlette_webhooks.delivery.clockwatch import ClockWatch
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.problems import Problem
from starlette_webhooks.stores.base import Store

__all__ = ["Pruner"]

logger = logging.getLogger("starlette_webhooks")

_EVERY = 3600.0
# A machine that has just started may still have a wrong clock.
_FIRST = 60.0
_AGAIN = 60.0
_LOOK_EVERY = 10.0


class Pruner:
    """Prunes a store.

    Args:
        days: How long events are kept.
        monotonic: Seconds of a monotonic clock.
    """

    def __init__(self, store: Store, days: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._days = days
        self._monotonic = monotonic
        self._clock = ClockWatch(store.now, monotonic)
        self._next = monotonic() + _FIRST
        self._problem = Problem("Old events are being removed again.", level=logging.WARNING)

    async def run(self) -> None:
        """Prune until cancelled."""
        while True:
            await anyio.sleep(_LOOK_EVERY)
            await self.look()

    async def look(self) -> None:
        """Prune if it is time, and if the clock can be trusted."""
        self._clock.look()
        if self._monotonic() < self._next or not self._clock.settled:
            return
        self._next = self._monotonic() + _EVERY
        try:
            await self.prune()
            self._problem.end()
        except BackendUnavailable as exc:
            self._next = self._monotonic() + _AGAIN
            self._problem.begin(f"Old events could not be removed. Trying again in a minute: {exc}")
        except Exception:
            fields = log_fields("prune.failed")
            logger.exception("Old events could not be removed. Trying again in an hour.", extra=fields)

    async def prune(self) -> None:
        """Remove events that are older than the retention now."""
        now = datetime.fromtimestamp(self._store.now() / 1000, UTC)
        await self._store.prune(now - timedelta(days=self._days))
