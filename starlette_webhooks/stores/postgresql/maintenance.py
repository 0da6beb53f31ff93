"""Removes old data, and maintains statistics."""

from __future__ import annotations

import anyio

from starlette_webhooks.identifiers import first_id
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.postgresql.endpoints import any_endpoint, delete_endpoint, delete_leftovers

__all__ = ["erase", "prune", "roll_up"]

_FILE = "maintenance.sql"
_BATCH = 200
# The pause between batches of removals, which lets other calls proceed.
_PAUSE = 0.05
_HOUR = 3_600_000
# An attempt is recorded some time after its start, which determines its hour.
_LATE = 2 * _HOUR


async def prune(database: Database, before: int, now: int) -> None:
    """Remove old events, and the rest of deleted endpoints. See `Maintenance.prune`."""
    queries = database.queries(_FILE)
    for (number,) in await database.call(queries["orphans"]):
        while await delete_leftovers(database, number):
            await anyio.sleep(_PAUSE)
    after: int | None = 0
    while after is not None:
        ((after,),) = await database.call(queries["prune"], (after, before, now, _BATCH))
        if after is not None:
            await anyio.sleep(_PAUSE)


async def roll_up(database: Database, now: int) -> None:
    """Count the attempts of past hours, for the statistics of endpoints."""
    queries = database.queries(_FILE)
    ((hour,),) = await database.call(queries["counted_until"])
    while hour + _HOUR + _LATE <= now:
        bounds = (first_id("atmpt_", hour), first_id("atmpt_", hour + _HOUR))
        ((hour,),) = await database.call(queries["roll_up"], (hour, *bounds))


async def erase(database: Database, tenant: str) -> None:
    """Remove everything that is stored for a tenant."""
    while (identifier := await any_endpoint(database, tenant)) is not None:
        await delete_endpoint(database, tenant, identifier)
    while (await database.call(database.queries(_FILE)["erase_events"], (tenant, _BATCH)))[0][0]:
        pass
