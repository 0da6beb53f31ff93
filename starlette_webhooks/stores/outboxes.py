"""Selects the outbox by `WEBHOOKS_DATABASE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette_webhooks.stores.sqlite.outbox import SQLiteOutbox

if TYPE_CHECKING:
    from starlette_webhooks.relay.outbox import OutboxStore
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.types import Clock

__all__ = ["outbox_of"]


def outbox_of(settings: WebhooksSettings, clock: Clock) -> OutboxStore:
    """Return the outbox in the database of the settings, before it is opened."""
    return SQLiteOutbox(
        settings.database_url.path,
        clock=clock,
        retention=settings.retention_days * 86_400,
        max_events=settings.queue_events,
        max_bytes=settings.queue_bytes,
        lock_seconds=settings.database_timeout,
    )
