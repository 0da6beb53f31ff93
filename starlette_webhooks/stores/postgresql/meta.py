"""Values that all processes share."""

from __future__ import annotations

from collections.abc import Collection

from starlette_webhooks.stores.postgresql.database import Database

__all__ = ["drop_meta", "find_meta", "read_meta", "write_meta"]

_FILE = "meta.sql"


async def read_meta(database: Database, name: str, default: bytes) -> bytes:
    """A value that all processes share, stored as `default` the first time."""
    values = {"name": name, "value": default}
    rows = await database.call(database.queries(_FILE)["read"], values)
    if not rows:
        # Another process has just stored it, after this statement began.
        rows = await database.call(database.queries(_FILE)["read"], values)
    return bytes(rows[0][0])


async def write_meta(database: Database, name: str, value: bytes) -> None:
    """Store a value, whatever was there."""
    await database.call(database.queries(_FILE)["write"], {"name": name, "value": value})


async def find_meta(database: Database, names: Collection[str]) -> dict[str, bytes]:
    """The values that exist, of these names."""
    rows = await database.call(database.queries(_FILE)["find"], {"names": list(names)})
    return {name: bytes(value) for name, value in rows}


async def drop_meta(database: Database, start: str, end: str) -> None:
    """Remove the values whose names lie between these two."""
    await database.call(database.queries(_FILE)["drop"], {"start": start, "end": end})
