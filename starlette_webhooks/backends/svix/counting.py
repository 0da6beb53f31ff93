"""The figures of the outbox for `health`, which may not wait for the database."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.problems import Problem
from starlette_webhooks.relay.outbox import OutboxCounts

if TYPE_CHECKING:
    from starlette_webhooks.relay.outbox import OutboxStore

__all__ = ["Counting"]

_PAUSE = 0.2
_EVERY = 5.0


class Counting:
    """Counts the outbox after each change, but not too often, and every few seconds.

    Attributes:
        counts: The latest figures.
    """

    def __init__(self, outbox: OutboxStore) -> None:
        self.counts = OutboxCounts()
        self._outbox = outbox
        self._problem = Problem("The outbox can be counted again.", level=logging.WARNING)

    def start(self) -> None:
        """Prepare a run. Belongs to the event loop of the caller."""
        self._changed = anyio.Event()

    def note_change(self) -> None:
        """Count again soon."""
        self._changed.set()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                self.counts = await self._outbox.counts()
            except BackendUnavailable as exc:
                self._problem.begin(f"The outbox could not be counted: {exc}")
            else:
                self._problem.end()
            await anyio.sleep(_PAUSE)
            with anyio.move_on_after(_EVERY):
                await self._changed.wait()
            self._changed = anyio.Event()
