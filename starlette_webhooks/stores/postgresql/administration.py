"""The administration of a PostgreSQL schema. See `Administration`."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import psycopg

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.administration import Administration, Adopted
from starlette_webhooks.stores.environments import META_ENVIRONMENT
from starlette_webhooks.stores.findings import Finding
from starlette_webhooks.stores.migrations import Applied, Installed
from starlette_webhooks.stores.postgresql import migrations
from starlette_webhooks.stores.postgresql.connection import Link, explain
from starlette_webhooks.stores.postgresql.conninfo import parse_url
from starlette_webhooks.stores.postgresql.examination import examine
from starlette_webhooks.stores.postgresql.queries import load_queries

__all__ = ["Connection", "PostgreSQLAdministration"]

Connection = migrations.Connection

_FOR_EVER = 30 * 86_400.0
_META = "meta.sql"
_FILE = "administration.sql"


class PostgreSQLAdministration(Administration):
    """A schema of a PostgreSQL database.

    Args:
        url: The URL of the database, with a role that owns the schema or may create it.
    """

    def __init__(self, url: str, schema: str) -> None:
        self._info = parse_url(url)
        self.schema = schema

    @property
    def where(self) -> str:
        """See `Administration.where`."""
        return f"{self._info.description} (schema {self.schema})"

    @contextmanager
    def connected(self) -> Generator[Connection]:
        """Open a connection in autocommit mode, without a deadline.

        Raises:
            BackendUnavailable: The server cannot be reached, or refuses a statement.
        """
        link = Link(self._info)
        connection = link.connect(time.monotonic() + _FOR_EVER)
        try:
            yield connection
        except psycopg.Error as exc:
            raise BackendUnavailable(f"PostgreSQL at {self._info.description}: {explain(exc)}") from exc
        finally:
            link.close()

    def migrate(self, applied: Applied) -> Installed:
        """See `Administration.migrate`."""
        with self.connected() as connection:
            return migrations.migrate(connection, self.schema, applied=applied)

    def grant(self, role: str) -> None:
        """See `Administration.grant`."""
        with self.connected() as connection:
            migrations.grant(connection, self.schema, role)

    def adopt(self, environment: str | None, *, keep: bool) -> Adopted:
        """See `Administration.adopt`."""
        queries = load_queries(_FILE, self.schema)
        with self.connected() as connection, connection.transaction():
            migrations.check(connection, self.schema)
            self.lock(connection)
            before = self.get_meta(connection, META_ENVIRONMENT)
            self.set_meta(connection, META_ENVIRONMENT, None if environment is None else environment.encode())
            endpoints = deliveries = 0
            if not keep:
                deliveries = connection.execute(queries["drop_deliveries"]).rowcount
                deliveries += connection.execute(queries["drop_outbox"]).rowcount
                connection.execute(queries["drop_subscriptions"])
                endpoints = connection.execute(queries["disable_endpoints"]).rowcount
        return Adopted(None if before is None else before.decode(), endpoints, deliveries)

    def examine(self) -> Sequence[Finding]:
        """See `Administration.examine`."""
        try:
            with self.connected() as connection:
                return list(examine(connection, self.schema))
        except BackendUnavailable as exc:
            return [Finding("server", "problem", str(exc))]

    def lock(self, connection: Connection) -> None:
        """Block writers until the transaction ends. Getting the lock may take long."""
        queries = load_queries(_FILE, self.schema)
        connection.execute(queries["unlimited"])
        connection.execute(queries["lock"])

    def get_meta(self, connection: Connection, name: str) -> bytes | None:
        """Return a value from the schema, or None."""
        row = connection.execute(load_queries(_META, self.schema)["get"], (name,)).fetchone()
        if row is None:
            return None
        assert isinstance(row[0], bytes)
        return row[0]

    def set_meta(self, connection: Connection, name: str, value: bytes | None) -> None:
        """Store a value in the schema. None removes it."""
        queries = load_queries(_FILE, self.schema)
        connection.execute(queries["delete_meta"], (name,))
        if value is not None:
            connection.execute(queries["insert_meta"], (name, value))
