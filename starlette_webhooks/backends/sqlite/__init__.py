"""The embedded engine: a log in SQLite, and a dispatcher that delivers from it."""

from __future__ import annotations

from starlette_webhooks.backends.sqlite.backend import SQLiteBackend

__all__ = ["SQLiteBackend"]
