"""Connects the outbox in the host's database to a running backend: its relay, checks and health."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from starlette_webhooks.backends.base import Backend
from starlette_webhooks.backends.statistics import Statistics
from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendUnavailable, NotRunning
from starlette_webhooks.health import Health, HostOutboxHealth
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.outbox.connectors import Busy, MissingTable
from starlette_webhooks.outbox.drain import Drain, OutboxFigures
from starlette_webhooks.outbox.outbox import Outbox
from starlette_webhooks.relay.host import HostRelay
from starlette_webhooks.waiting import running_loop

__all__ = ["HostOutbox", "connect_outbox"]

logger = logging.getLogger("starlette_webhooks")


class HostOutbox:
    """Moves the events of an outbox into a backend, while both run."""

    def __init__(self, outbox: Outbox, backend: Backend) -> None:
        self._outbox = outbox
        self._backend = backend
        self._drain: Drain | None = None
        self._relay: HostRelay | None = None
        self._statistics: Statistics[OutboxFigures] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Relay until the block ends. The backend must be running."""
        drain = self._drain = Drain(self._outbox, log=await self._backend.log_name())
        relay = self._relay = HostRelay(
            drain, self._send, mints_ids=self._backend.mints_ids, on_accepted=self._outbox.moved
        )
        soon = running_loop().call_soon_threadsafe

        def call_soon(fn: Callable[[], None]) -> None:
            # The loop may have ended, or belong to the parent of a forked child.
            with suppress(RuntimeError):
                soon(fn)

        statistics = self._statistics = Statistics(drain.figures, call_soon=call_soon)
        self._outbox.listeners.append(relay.wake)
        try:
            async with running_beside(relay.run, statistics.run):
                yield
        finally:
            self._outbox.listeners.remove(relay.wake)
            self._drain = self._relay = self._statistics = None

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
            fields = log_fields("outbox.unknown")
            logger.warning("It is unknown whether the tables of the outbox exist: %s", exc, extra=fields)
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

    async def dead_letter_tenants(self, ids: Collection[str]) -> Mapping[str, str]:
        """See `DeadLetters.dead_letter_tenants`."""
        return await self._running.dead_letter_tenants(ids)

    async def refresh_figures(self) -> None:
        """Read the figures of the backend and of the outbox now. See `Backend.refresh_figures`."""
        await self._backend.refresh_figures()
        if self._statistics is not None:
            await self._statistics.refresh()

    def add_health(self, health: Health, *, figures: bool) -> None:
        """Add whether this process relays, the problem if it cannot, and the figures that were read last."""
        relay, statistics = self._relay, self._statistics
        mine: HostOutboxHealth = {
            "here": relay is not None and relay.relaying,
            "problem": None if relay is None else relay.problem,
        }
        health["hostOutbox"] = mine
        asked = statistics.ask() if figures and statistics is not None else None
        if asked is None:
            return
        found, age = asked
        mine["waiting"] = found.waiting
        mine["oldestSeconds"] = round(found.late, 3)
        mine["deadLettered"] = found.dead_lettered
        # Those of the backend were read at another time, by other calls.
        health["figuresAgeSeconds"] = max(health.get("figuresAgeSeconds", 0.0), round(age, 3))


def connect_outbox(outbox: Outbox, backend: Backend) -> HostOutbox | None:
    """Return what moves the events of an outbox into a backend. None if it is the backend's own, which empties it."""
    own = backend.outbox
    if own is not None and outbox.is_same(own):
        outbox.share(own)
        return None
    return HostOutbox(outbox, backend)
