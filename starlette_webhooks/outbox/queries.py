"""The SQL of the outbox: named statements, for the dialect and the names of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

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
    """Return the statements, with `:name` for parameters. The caller fills in remaining braces."""
    parts = {
        "{outbox}": tables.quoted(tables.name),
        "{relay}": tables.quoted(tables.relay),
        "{dead_letters}": tables.quoted(tables.dead_letters),
        "{now}": NOW[tables.dialect],
    }
    queries = {}
    text = files("starlette_webhooks.outbox").joinpath("outbox.sql").read_text("utf-8")
    for part in text.split("-- name:")[1:]:
        name, _, statement = part.partition("\n")
        lines = [line for line in statement.splitlines() if not line.startswith("--")]
        found = "\n".join(lines).strip()
        for mark, value in parts.items():
            found = found.replace(mark, value)
        queries[name.strip()] = found
    return MappingProxyType(queries)
