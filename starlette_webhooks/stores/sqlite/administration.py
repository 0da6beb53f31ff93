"""The administration of a SQLite file. See `Administration`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.file_locks import FileLock
from starlette_webhooks.stores.administration import Administration, Adopted
from starlette_webhooks.stores.environments import META_ENVIRONMENT
from starlette_webhooks.stores.findings import Finding
from starlette_webhooks.stores.migrations import Applied, Installed
from starlette_webhooks.stores.sqlite.examination import examine
from starlette_webhooks.stores.sqlite.exclusive import opened_alone
from starlette_webhooks.stores.sqlite.meta import get_meta, set_meta
from starlette_webhooks.stores.sqlite.migrations import check, migrate
from starlette_webhooks.stores.sqlite.opening import check_for_damage, open_database
from starlette_webhooks.stores.sqlite.queries import load_queries

__all__ = ["SQLiteAdministration"]

_QUERIES = load_queries("administration.sql")
_BUSY_SECONDS = 2.0


class SQLiteAdministration(Administration):
    """A SQLite file.

    Args:
        lock_seconds: How long to wait for a writing process of the app.
    """

    def __init__(self, path: str, *, lock_seconds: float = 5.0) -> None:
        self._path = path
        self._lock_seconds = lock_seconds

    @property
    def where(self) -> str:
        """See `Administration.where`."""
        return self._path

    def migrate(self, applied: Applied) -> Installed:
        """See `Administration.migrate`."""
        location = os.path.realpath(self._path)
        lock = FileLock(f"{location}-lock")
        try:
            check_for_damage(location, seconds=_BUSY_SECONDS)
            lock.open()
            if not lock.acquire(self._lock_seconds):
                raise BackendUnavailable(f"{lock.holder()} holds the lock of the database {self._path!r}.")
            with closing(open_database(location, busy_seconds=_BUSY_SECONDS)) as connection:
                return migrate(connection, self._path, applied=applied)
        except OSError as exc:
            why = exc.strerror or str(exc)
            raise BackendUnavailable(f"The database {self._path!r} cannot be opened: {why}.") from exc
        except sqlite3.Error as exc:
            raise BackendUnavailable(f"The database {self._path!r} cannot be migrated: {exc}.") from exc
        finally:
            lock.close()

    def grant(self, role: str) -> None:
        """See `Administration.grant`."""
        raise BackendUnavailable("A SQLite file has no roles. Users who can write to the file can use it.")

    def adopt(self, environment: str | None, *, keep: bool) -> Adopted:
        """See `Administration.adopt`."""
        with opened_alone(self._path) as connection:
            check(connection, self._path)
            connection.execute("BEGIN IMMEDIATE")
            before = get_meta(connection, META_ENVIRONMENT)
            set_meta(connection, META_ENVIRONMENT, None if environment is None else environment.encode())
            endpoints = deliveries = 0
            if not keep:
                deliveries = connection.execute(_QUERIES["drop_deliveries"]).rowcount
                deliveries += connection.execute(_QUERIES["drop_outbox"]).rowcount
                connection.execute(_QUERIES["drop_subscriptions"])
                endpoints = connection.execute(_QUERIES["disable_endpoints"]).rowcount
            connection.execute("COMMIT")
        return Adopted(None if before is None else before.decode(), endpoints, deliveries)

    def examine(self) -> Sequence[Finding]:
        """See `Administration.examine`."""
        return list(examine(self._path))
