"""Sending an event while the caller waits, and waiting until the outbox is empty."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendRefused, BackendUnavailable
from starlette_webhooks.relay.outbox import EntryState

if TYPE_CHECKING:
    from starlette_webhooks.backends.svix.forwarding import SvixForwarding
    from starlette_webhooks.relay.outbox import OutboxStore
    from starlette_webhooks.relay.relay import Relay

__all__ = ["Sending"]

logger = logging.getLogger("starlette_webhooks")

# Another process may be the one that relays, so there is nothing here to be woken by.
_POLL = 0.02


class Sending:
    """Sends events past the outbox, but never before those that wait in it.

    Args:
        timeout: Seconds that a tenant's earlier events may take to reach Svix before a send fails.
    """

    def __init__(self, outbox: OutboxStore, relay: Relay, forwarding: SvixForwarding, *, timeout: float) -> None:
        self._outbox = outbox
        self._relay = relay
        self._forwarding = forwarding
        self._timeout = timeout

    async def send(self, events: Sequence[Event]) -> Sequence[Event]:
        """See `SvixBackend.send`."""
        return [await self._send(event) for event in events]

    async def _send(self, event: Event) -> Event:
        await self._wait_for_earlier(event.tenant)
        entry = await self._outbox.find(event.tenant, event.event_id)
        if entry is not None and entry.state == EntryState.DEAD_LETTERED:
            raise BackendRefused(
                f"Svix has refused the event {event.event_id!r} before.", code=entry.code, detail=entry.detail
            )
        if entry is not None and entry.state == EntryState.ACCEPTED and entry.event.id:
            return entry.event
        accepted = await self._forwarding.patiently(event)
        if entry is None:
            try:
                await self._outbox.record(accepted.event, check_at=accepted.check_at)
            except BackendUnavailable as exc:
                logger.warning("Svix has the event %s, which cannot be recorded here: %s", event.event_id, exc)
        return accepted.event

    async def _wait_for_earlier(self, tenant: str) -> None:
        with anyio.move_on_after(self._timeout):
            while await self._outbox.waits(tenant):
                if self._relay.fails(tenant):
                    break
                await anyio.sleep(_POLL)
            else:
                return
        reason = f" {self._relay.error}" if self._relay.error is not None else ""
        raise BackendUnavailable(f"Events that were emitted before this one still wait for Svix.{reason}")

    async def settle(self) -> None:
        """Wait until Svix has everything that was submitted so far, or has refused it permanently."""
        await self._outbox.committed()
        while await self._outbox.waits():
            await anyio.sleep(_POLL)

    async def drain(self, within: float) -> None:
        """Settle, and log what is lost if that takes longer than so many seconds."""
        with anyio.move_on_after(within):
            await self.settle()
            return
        counts = await self._outbox.counts()
        logger.error("%d events are lost: Svix had not taken them when the process ended.", counts.waiting)
