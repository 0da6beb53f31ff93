"""Sends events while the caller waits, and waits until the outbox is empty."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendRefused, BackendUnavailable
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.relay.outbox import EntryState

if TYPE_CHECKING:
    from starlette_webhooks.backends.svix.forwarding import SvixForwarding
    from starlette_webhooks.relay.outbox import OutboxStore
    from starlette_webhooks.relay.relay import Relay

__all__ = ["Sending"]

logger = logging.getLogger("starlette_webhooks")

# Another process may be the one that relays, so no event in this process ends the wait.
_POLL = 0.02


class Sending:
    """Sends events directly, but never before those that wait in the outbox.

    Args:
        timeout: Seconds to wait for a tenant's earlier events before a send fails.
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
            except BackendUnavailable as exc:  # pragma: no cover  The disk must fail between two calls.
                logger.warning(
                    "Svix has the event %s, but this could not be recorded: %s",
                    event.event_id,
                    exc,
                    extra=log_fields("event.not_recorded", tenant=event.tenant, eventId=event.event_id),
                )
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
        raise BackendUnavailable(f"Earlier events of the tenant still wait for Svix.{reason}")

    async def settle(self) -> None:
        """Wait until Svix has accepted or permanently refused all submitted events."""
        await self._outbox.committed()
        while await self._outbox.waits():
            await anyio.sleep(_POLL)

    async def drain(self, within: float) -> None:
        """Call `settle`, and log what is lost if that takes longer than a number of seconds."""
        with anyio.move_on_after(within):
            await self.settle()
            return
        counts = await self._outbox.counts()
        logger.error(
            "%d events are lost: Svix had not accepted them when the process ended.",
            counts.waiting,
            extra=log_fields("events.lost", count=counts.waiting),
        )
