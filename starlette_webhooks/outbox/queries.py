"""The SQL of the outbox: named statements, for the dialect and the names of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from starlette_webhooks.named_sql import read_queries
from starlette_webhooks.outbox.places import Tables

__all__ = ["NOW", "queries_of"]

# Microseconds since the epoch by the clock of the database, which all machines share.
NOW = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
    "mysql": "CAST(unix_timestamp(now(6)) * 1000000 AS SIGNED)",
}


@cache
def queries_of(tables: Tables) -> Mapping[str, str]:
    """Return the statements, with `:name` for parameters. See `substitute` for remaining braces."""
    parts = {
        "{outbox}": tables.quoted(tables.name),
        "{relay}": tables.quoted(tables.relay),
        "{dead_letters}": tables.quoted(tables.dead_letters),
        "{now}": NOW[tables.dialect],
    }
    queries = {}
    for name, statement in read_queries("starlette_webhooks.outbox", "outbox.sql").items():
        lines = [line for line in statement.splitlines() if not line.startswith("--")]
        found = "\n".join(lines).strip()
        for mark, value in parts.items():
            found = found.replace(mark, value)
        queries[name] = found
    return MappingProxyType(queries)
