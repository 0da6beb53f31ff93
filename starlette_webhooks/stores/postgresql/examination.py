"""Checks the installation of a PostgreSQL schema. See `Administration.examine`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.findings import Finding, check_clock, check_transactions
from starlette_webhooks.stores.postgresql import migrations
from starlette_webhooks.stores.postgresql.migrations import Connection
from starlette_webhooks.stores.postgresql.queries import load_queries

__all__ = ["examine"]

_OLDEST = 140000


def examine(connection: Connection, schema: str) -> Iterator[Finding]:
    """Yield what is found."""
    queries = load_queries("examination.sql", schema)

    def read(name: str) -> tuple[Any, ...]:
        row = connection.execute(queries[name]).fetchone()
        assert row is not None
        return row

    number = connection.info.server_version
    version = f"PostgreSQL {number // 10_000}.{number % 10_000}."
    if number < _OLDEST:  # pragma: no cover  Such a server would be needed.
        yield Finding("server", "problem", f"{version} Version 14 and later are supported.")
    else:
        yield Finding("server", "ok", version)
    (now,) = read("now")
    yield check_clock(now)
    yield _pooler(connection, queries["backend"])
    isolation, read_only, durable = read("settings")
    if isolation != "read committed":
        text = f"Transactions of this role are {isolation.upper()} by default. Set it to READ COMMITTED."
        yield Finding("isolation", "problem", text)
    if read_only:
        yield Finding("server", "problem", "The server is read-only: it is a standby, or set so.")
    if durable in ("off", "local"):
        text = f"`synchronous_commit` is `{durable}`, which the package overrides for each commit of its own."
        yield Finding("durability", "note", text)
    used, most = read("connections")
    text = f"{used} of {most} connections of the server are in use."
    yield Finding("connections", "problem" if used > 0.9 * most else "ok", text)
    (oldest,) = read("oldest_transaction")
    yield from check_transactions(oldest)
    try:
        found = migrations.check(connection, schema)
        yield Finding("schema", "ok", f"The schema {schema!r} has version {found.version}.")
    except BackendUnavailable as exc:
        yield Finding("schema", "problem", str(exc))


def _pooler(connection: Connection, statement: str) -> Finding:
    # Behind a pooler, the server's process is not the one that the connection was opened to.
    row = connection.execute(statement).fetchone()
    if row is not None and row[0] != connection.info.backend_pid:
        text = (
            "There is a pooler in between. Set `WEBHOOKS_DATABASE_LISTEN` to a URL without it, so that events of other "
            "processes arrive immediately."
        )
        return Finding("pooler", "note", text)
    return Finding("pooler", "ok", "The connection goes to the server directly.")
