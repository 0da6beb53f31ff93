"""`SQLiteBackend`, the backend that needs no server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from starlette_webhooks.backends.stored import StoredBackend
from starlette_webhooks.database_url import MEMORY
from starlette_webhooks.stores.sqlite.store import SQLiteStore

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.types import Clock

__all__ = ["SQLiteBackend"]


class SQLiteBackend(StoredBackend):
    """Stores events in a SQLite file, and delivers them.

    Args:
        settings: `database`, `retention_days`, the retry schedule and the rest.
        clock: Seconds since the epoch. Tests advance it.
        options: See `StoredBackend`.
    """

    name = "sqlite"
    store: SQLiteStore

    def __init__(self, settings: WebhooksSettings, *, clock: Clock = time.time, **options: Any) -> None:
        store = SQLiteStore(
            settings.database_url.path,
            max_writes=settings.queue_events,
            max_bytes=settings.queue_bytes,
            lock_seconds=settings.database_timeout,
            migrates=settings.migrate,
            environment=settings.environment,
            clock=clock,
        )
        super().__init__(store, settings, **options)

    async def log_name(self) -> str:
        """See `Backend.log_name`. A log in memory is not shared, and each one is new."""
        return "" if self.settings.database_url.path == MEMORY else await super().log_name()
