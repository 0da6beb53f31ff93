"""The backends, and the choice between them by the settings."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette_webhooks.backends.base import Backend
    from starlette_webhooks.settings import WebhooksSettings

__all__ = ["default_backend"]


def default_backend(settings: WebhooksSettings) -> Backend:
    """Return the Svix backend if there is an API key, otherwise the backend for `database`.

    Raises:
        ValueError: The driver of the database is not installed.
    """
    if settings.svix_api_key is not None:
        from starlette_webhooks.backends.svix import SvixBackend

        return SvixBackend(settings)
    if settings.database_url.dialect == "postgresql":
        try:
            backend: Backend = import_module("starlette_webhooks.backends.postgresql").PostgreSQLBackend(settings)
        except ModuleNotFoundError as exc:
            raise ValueError(
                "`WEBHOOKS_DATABASE` names a PostgreSQL database. Install `psycopg[binary]` for it, "
                "or give the path of a SQLite file."
            ) from exc
        return backend
    from starlette_webhooks.backends.sqlite import SQLiteBackend

    return SQLiteBackend(settings)
