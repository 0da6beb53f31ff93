"""Selects the administration by `WEBHOOKS_DATABASE`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from starlette_webhooks.database_url import MEMORY
from starlette_webhooks.stores.sqlite.administration import SQLiteAdministration

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.stores.administration import Administration

__all__ = ["administration_of"]


def administration_of(settings: WebhooksSettings) -> Administration:
    """Return the administration of the database in the settings.

    Raises:
        ValueError: The database is in memory, or its driver is not installed.
    """
    found = settings.database_url
    if found.dialect == "postgresql":
        try:
            module = import_module("starlette_webhooks.stores.postgresql.administration")
        except ModuleNotFoundError as exc:
            raise ValueError("Install `psycopg[binary]` for a PostgreSQL database.") from exc
        administration: Administration = module.PostgreSQLAdministration(found.location, settings.database_schema)
        return administration
    if found.path == MEMORY:
        raise ValueError("A database in memory belongs to its process. Name a file or a PostgreSQL database.")
    return SQLiteAdministration(found.path, lock_seconds=settings.database_timeout)
