"""`PostgreSQLBackend`, the backend for several machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette_webhooks.backends.stored import StoredBackend
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore

if TYPE_CHECKING:
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

    def event_time(self) -> int:
        """See `Backend.event_time`. Uses the clock of the database, because the clocks of machines differ."""
        return int(self.store.database.clock() * 1000)
