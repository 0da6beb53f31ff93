"""`PostgreSQLBackend`, the backend for several machines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette_webhooks.backends.stored import StoredBackend
from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.health import HostOutboxHealth
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.stores.postgresql.dead_letters import OutboxDeadLetters
from starlette_webhooks.stores.postgresql.moving import OutboxMover, identify_server
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore

if TYPE_CHECKING:
    from starlette_webhooks.event_types import EventTypes
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.types import Clock

__all__ = ["PostgreSQLBackend"]


class PostgreSQLBackend(StoredBackend):
    """Stores events in a PostgreSQL database, and delivers them together with all other processes that use it.

    Args:
        settings: `database`, `retention_days`, the retry schedule and the rest.
        clock: Seconds since the epoch, for tests. By default, the clock of the database server.
        options: See `StoredBackend`.
    """

    name = "postgresql"
    store: PostgreSQLStore
    outbox: Outbox

    def __init__(self, settings: WebhooksSettings, *, clock: Clock | None = None, **options: Any) -> None:
        listen = settings.database_listen
        store = PostgreSQLStore(
            settings.database_url.location,
            listen_url=None if listen is None else listen.get_secret_value(),
            delivers=settings.deliver,
            max_writes=settings.queue_events,
            max_bytes=settings.queue_bytes,
            schema=settings.database_schema,
            connections=settings.database_connections,
            deadline=settings.database_timeout,
            patience=settings.database_wait,
            migrates=settings.migrate,
            environment=settings.environment,
            clock=clock,
        )
        super().__init__(store, settings, **options)
        self.outbox = Outbox(settings.database_url.location, schema=settings.database_schema)
        self._mover: OutboxMover | None = None
        self._dead_letters = OutboxDeadLetters(store.database)

    @asynccontextmanager
    async def lifespan(self, event_types: EventTypes) -> AsyncIterator[None]:
        """Run the backend, and move what hosts commit in this database into the log."""
        outbox = self.outbox
        mover = self._mover = self.store.outbox_mover(due_in=self._first_due_in, on_moved=outbox.moved)
        async with super().lifespan(event_types), running_beside(mover.run):
            outbox.server.identifier = await identify_server(self.store.database)
            outbox.listeners.append(mover.wake)
            try:
                yield
            finally:
                outbox.listeners.remove(mover.wake)
                self._mover = None

    async def dead_letters(self, *, tenant: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """See `Backend.dead_letters`. These are events that hosts emitted within transactions in this database."""
        return await self._dead_letters.dead_letters(tenant=tenant, limit=limit)

    async def redrive(self, tenant: str | None = None, *, ids: Collection[str] | None = None) -> int:
        """See `Backend.redrive`."""
        return await self._dead_letters.redrive(tenant, ids=ids)

    async def discard(self, ids: Collection[str]) -> int:
        """See `Backend.discard`."""
        return await self._dead_letters.discard(ids)

    async def dead_letter_tenants(self, ids: Collection[str]) -> Mapping[str, str]:
        """See `Backend.dead_letter_tenants`."""
        return await self._dead_letters.dead_letter_tenants(ids)

    def event_time(self) -> int:
        """See `Backend.event_time`. Uses the clock of the database, because the clocks of machines differ."""
        return int(self.store.database.clock() * 1000)

    def _host_outbox_health(self) -> HostOutboxHealth | None:
        mover = self._mover
        return None if mover is None else {"here": True, "problem": mover.problem}
