"""What the process that relays does besides: it resolves doubts and forgets what is old."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette_webhooks.backends.svix.errors import SvixRefused
from starlette_webhooks.exceptions import WebhooksError

if TYPE_CHECKING:
    from starlette_webhooks.backends.svix.delivering import Delivering
    from starlette_webhooks.relay.backoff import Pace
    from starlette_webhooks.relay.relay import Relay
    from starlette_webhooks.stores.sqlite.outbox import Outbox

__all__ = ["Housekeeping"]

logger = logging.getLogger("starlette_webhooks")

_EVERY = 30.0
_PRUNE_EVERY = 3600.0
_AGAIN = 60.0


class Housekeeping:
    """Keeps the outbox in order."""

    def __init__(self, outbox: Outbox, relay: Relay, delivering: Delivering, pace: Pace) -> None:
        self._outbox = outbox
        self._relay = relay
        self._delivering = delivering
        self._pace = pace

    async def run(self) -> None:
        """Keep order for ever."""
        pruned = 0.0
        while True:
            await self._pace.sleep(_EVERY)
            if not self._relay.relaying:
                continue
            now = self._pace.clock()
            try:
                await self.resolve_doubts()
                if not 0 <= now - pruned < _PRUNE_EVERY:
                    pruned = now
                    await self.prune()
            except WebhooksError as exc:
                logger.warning("The outbox could not be tidied up; trying again: %s", exc)

    async def resolve_doubts(self) -> None:
        """See whether messages of which it is not certain are being delivered, and deliver those that are not."""
        for row in await self._outbox.in_doubt():
            try:
                await self._delivering.rescue(row.event)
            except SvixRefused as exc:
                logger.warning("It is unknown whether Svix delivers the event %s: %s", row.event.event_id, exc)
                await self._outbox.settle_doubt(row)
            except WebhooksError:
                await self._outbox.settle_doubt(row, self._pace.clock() + _AGAIN)
                raise
            else:
                await self._outbox.settle_doubt(row)

    async def prune(self) -> None:
        """Forget accepted events that are old enough."""
        while await self._outbox.prune():
            await self._pace.sleep(0.05)
