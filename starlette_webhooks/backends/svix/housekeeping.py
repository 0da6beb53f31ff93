"""Housekeeping of the relaying process: resolves events in doubt and removes old ones."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from starlette_webhooks.backends.svix.errors import SvixRefused
from starlette_webhooks.exceptions import WebhooksError
from starlette_webhooks.log_fields import log_fields

if TYPE_CHECKING:
    from starlette_webhooks.backends.svix.delivering import Delivering
    from starlette_webhooks.relay.clock import TimeSource
    from starlette_webhooks.relay.outbox import OutboxStore
    from starlette_webhooks.relay.relay import Relay

__all__ = ["Housekeeping"]

logger = logging.getLogger("starlette_webhooks")

_EVERY = 30.0
_PRUNE_EVERY = 3600.0
_AGAIN = 60.0


class Housekeeping:
    """Resolves events in doubt, and prunes the outbox."""

    def __init__(self, outbox: OutboxStore, relay: Relay, delivering: Delivering, time: TimeSource) -> None:
        self._outbox = outbox
        self._relay = relay
        self._delivering = delivering
        self._time = time

    async def run(self) -> None:
        """Run until cancelled."""
        pruned = -math.inf
        while True:
            await self._time.sleep(_EVERY)
            if not self._relay.relaying:
                continue
            now = self._time.monotonic()
            try:
                await self.resolve_in_doubt()
                if now - pruned >= _PRUNE_EVERY:
                    pruned = now
                    await self.prune()
            except WebhooksError as exc:
                fields = log_fields("housekeeping.failed")
                logger.warning("The housekeeping of the outbox failed. Trying again: %s", exc, extra=fields)

    async def resolve_in_doubt(self) -> None:
        """Check whether messages in doubt are being delivered, and redeliver those that are not."""
        for entry in await self._outbox.in_doubt():
            try:
                await self._delivering.rescue(entry.event)
            except SvixRefused as exc:
                event = entry.event
                fields = log_fields("event.in_doubt", tenant=event.tenant, eventId=event.event_id)
                logger.warning(
                    "It is unclear whether Svix delivers the event %s: %s", event.event_id, exc, extra=fields
                )
                await self._outbox.resolve(entry)
            except WebhooksError:
                await self._outbox.resolve(entry, self._time.now() + _AGAIN)
                raise
            else:
                await self._outbox.resolve(entry)

    async def prune(self) -> None:
        """Remove accepted events that are old enough."""
        while await self._outbox.prune():
            await self._time.sleep(0.05)
