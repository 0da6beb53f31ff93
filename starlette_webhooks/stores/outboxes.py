"""Selects the outbox by `WEBHOOKS_DATABASE`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from starlette_webhooks.stores.sqlite.outbox import SQLiteOutbox

if TYPE_CHECKING:
    from starlette_webhooks.relay.outbox import OutboxStore
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.types import Clock

__all__ = ["outbox_of"]


def outbox_of(settings: WebhooksSettings, clock: Clock) -> OutboxStore:
    """Return the outbox in the database of the settings, before it is opened.

    Raises:
        ValueError: The driver of the database is not installed.
    """
    found = settings.database_url
    options: dict[str, Any] = {
        "clock": clock,
        "retention": settings.retention_days * 86_400,
        "max_events": settings.queue_events,
        "max_bytes": settings.queue_bytes,
        "migrates": settings.migrate,
        "environment": settings.environment,
    }
    if found.dialect == "sqlite":
        return SQLiteOutbox(found.path, lock_seconds=settings.database_timeout, **options)
    try:
        module = import_module("starlette_webhooks.stores.postgresql.outbox")
    except ModuleNotFoundError as exc:
        raise ValueError("`WEBHOOKS_DATABASE` names a PostgreSQL database. Install `psycopg[binary]` for it.") from exc
    outbox: OutboxStore = module.PostgreSQLOutbox(
        found.location,
        schema=settings.database_schema,
        connections=settings.database_connections,
        deadline=settings.database_timeout,
        patience=settings.database_wait,
        **options,
    )
    return outbox
