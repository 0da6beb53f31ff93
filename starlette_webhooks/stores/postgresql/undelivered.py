"""Reads undelivered deliveries in PostgreSQL, and makes them due."""

from __future__ import annotations

from collections.abc import Sequence

from starlette_webhooks.named_sql import substitute
from starlette_webhooks.stores.limits import SOON_MS
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.undelivered import Candidate, Place, Target, UndeliveredRows, to_candidate
from starlette_webhooks.undelivered import FoundDelivery, UndeliveredQuery, UndeliveredState

__all__ = ["PostgreSQLUndeliveredRows", "find_deliveries", "requeue"]

_FILE = "undelivered.sql"


class PostgreSQLUndeliveredRows(UndeliveredRows):
    """See `UndeliveredRows`.

    Args:
        now: Milliseconds since the epoch.
    """

    def __init__(self, database: Database, now: int) -> None:
        self._database = database
        self._now = now

    async def targets(self, query: UndeliveredQuery, number: int, limit: int) -> Sequence[Target]:
        """See `UndeliveredRows.targets`."""
        statement = "targets"
        if query.endpoint_id is not None:
            statement = "target"
        elif query.tenant is not None:
            statement = "targets_of_tenant"
        values = {"tenant": query.tenant, "id": query.endpoint_id, "number": number, "limit": limit}
        return [Target(*row) for row in await self._database.call(self._database.queries(_FILE)[statement], values)]

    async def candidates(self, endpoint: int, state: UndeliveredState, after: Place, limit: int) -> Sequence[Candidate]:
        """See `UndeliveredRows.candidates`."""
        queries = self._database.queries(_FILE)
        statement = substitute(queries["candidates"], keys=queries[state])
        values = {"endpoint": endpoint, "place": after[0], "event": after[1], "limit": limit, "now": self._now}
        return [to_candidate(row) for row in await self._database.call(statement, values)]

    async def locate(self, endpoint_id: str, event_id: str) -> tuple[int, int | None, int | None] | None:
        """See `UndeliveredRows.locate`."""
        values = {"endpoint": endpoint_id, "event": event_id}
        rows = await self._database.call(self._database.queries(_FILE)["locate"], values)
        return (rows[0][0], rows[0][1], rows[0][2]) if rows else None


async def find_deliveries(database: Database, tenant: str, named: Sequence[tuple[str, str]]) -> list[FoundDelivery]:
    """See `UndeliveredStore.find_deliveries`."""
    values = {
        "tenant": tenant,
        "events": [event for event, _ in named],
        "endpoints": [endpoint for _, endpoint in named],
    }
    rows = await database.call(database.queries(_FILE)["named"], values)
    return [FoundDelivery((event, endpoint), disabled) for event, endpoint, disabled in rows]


async def requeue(database: Database, deliveries: Sequence[tuple[int, int]], *, now: int) -> list[int]:
    """Make deliveries due now. Returns their endpoints. See `UndeliveredStore.requeue`."""
    values = {
        "events": [event for event, _ in deliveries],
        "endpoints": [endpoint for _, endpoint in deliveries],
        "now": now,
        "soon": now + SOON_MS,
    }
    return [endpoint for (endpoint,) in await database.call(database.queries(_FILE)["requeue"], values)]
