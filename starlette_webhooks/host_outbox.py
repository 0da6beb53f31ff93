"""Connects the outbox in the host's database to a running backend: its relay, checks and health."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from starlette_webhooks.backends.base import Backend
from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendUnavailable, NotRunning
from starlette_webhooks.health import HostOutboxHealth
from starlette_webhooks.outbox.connectors import Busy, MissingTable
from starlette_webhooks.outbox.drain import Drain
from starlette_webhooks.outbox.outbox import Outbox
from starlette_webhooks.relay.host import HostRelay

__all__ = ["HostOutbox"]

logger = logging.getLogger("starlette_webhooks")


class HostOutbox:
    """Moves the events of an outbox into a backend, while both run."""

    def __init__(self, outbox: Outbox, backend: Backend) -> None:
        self._outbox = outbox
        self._backend = backend
        self._drain: Drain | None = None
        self._relay: HostRelay | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Relay until the block ends. The backend must be running."""
        drain = self._drain = Drain(self._outbox, log=await self._backend.log_name())
        relay = self._relay = HostRelay(
            drain, self._send, mints_ids=self._backend.mints_ids, on_accepted=self._outbox.moved
        )
        self._outbox.listeners.append(relay.wake)
        try:
            async with running_beside(relay.run):
                yield
        finally:
            self._outbox.listeners.remove(relay.wake)
            self._drain = self._relay = None

    async def _send(self, events: Sequence[Event]) -> Sequence[Event]:
        return await self._backend.submit(events).wait()

    async def check(self) -> None:
        """Check that the tables exist before the host serves.

        Raises:
            RuntimeError: They do not. The message says what to do.
        """
        drain = Drain(self._outbox)
        try:
            await drain.check()
        except MissingTable as exc:
            raise RuntimeError(str(exc)) from None
        except (BackendUnavailable, Busy) as exc:
            # The relay keeps trying, and the host starts.
            logger.warning("It is unknown whether the tables of the outbox exist: %s", exc)
        finally:
            await drain.close()

    async def erase(self, tenant: str) -> None:
        """Remove a tenant's waiting events."""
        if self._drain is not None:
            await self._drain.erase(tenant)

    @property
    def _running(self) -> Drain:
        if self._drain is None:
            raise NotRunning
        return self._drain

    async def dead_letters(self, *, tenant: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """See `DeadLetters.dead_letters`."""
        return await self._running.dead_letters(tenant=tenant, limit=limit)

    async def redrive(self, tenant: str | None = None, *, ids: Collection[str] | None = None) -> int:
        """See `DeadLetters.redrive`."""
        return await self._running.redrive(tenant, ids=ids)

    async def discard(self, ids: Collection[str]) -> int:
        """See `DeadLetters.discard`."""
        return await self._running.discard(ids)

    def health(self) -> HostOutboxHealth:
        """Return whether this process relays, and the problem if it cannot."""
        relay = self._relay
        return {"here": relay is not None and relay.relaying, "problem": None if relay is None else relay.problem}
