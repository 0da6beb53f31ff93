"""Reads undelivered deliveries in SQLite, and makes them due."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette_webhooks.named_sql import substitute
from starlette_webhooks.stores.limits import SOON_MS
from starlette_webhooks.stores.sqlite.database import Database
from starlette_webhooks.stores.sqlite.queries import load_queries
from starlette_webhooks.stores.undelivered import Candidate, Place, Target, UndeliveredRows, to_candidate
from starlette_webhooks.undelivered import STATES, FoundDelivery, UndeliveredQuery, UndeliveredState

__all__ = ["SQLiteUndeliveredRows", "find_deliveries", "requeue"]

_QUERIES = load_queries("undelivered.sql")
_CANDIDATES = {state: substitute(_QUERIES["candidates"], keys=_QUERIES[state]) for state in STATES}


class SQLiteUndeliveredRows(UndeliveredRows):
    """See `UndeliveredRows`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def targets(self, query: UndeliveredQuery, number: int, limit: int) -> Sequence[Target]:
        """See `UndeliveredRows.targets`."""
        statement = "targets"
        if query.endpoint_id is not None:
            statement = "target"
        elif query.tenant is not None:
            statement = "targets_of_tenant"
        values = {"tenant": query.tenant, "id": query.endpoint_id, "number": number, "limit": limit}
        return [Target(*row) for row in await self._read(_QUERIES[statement], values)]

    async def candidates(self, endpoint: int, state: UndeliveredState, after: Place, limit: int) -> Sequence[Candidate]:
        """See `UndeliveredRows.candidates`."""
        values = {"endpoint": endpoint, "place": after[0], "event": after[1], "limit": limit}
        return [to_candidate(row) for row in await self._read(_CANDIDATES[state], values)]

    async def locate(self, endpoint_id: str, event_id: str) -> tuple[int, int | None, int | None] | None:
        """See `UndeliveredRows.locate`."""
        rows = await self._read(_QUERIES["locate"], {"endpoint": endpoint_id, "event": event_id})
        return tuple(rows[0]) if rows else None

    async def _read(self, statement: str, values: dict[str, Any]) -> list[Any]:
        return await self._database.read(partial(_fetch, statement=statement, values=values))


def _fetch(connection: sqlite3.Connection, statement: str, values: dict[str, Any]) -> list[Any]:
    return connection.execute(statement, values).fetchall()


def find_deliveries(
    connection: sqlite3.Connection, *, tenant: str, named: Sequence[tuple[str, str]]
) -> list[FoundDelivery]:
    """See `UndeliveredStore.find_deliveries`."""
    rows = connection.execute(_QUERIES["named"], {"tenant": tenant, "named": json.dumps(named)})
    return [FoundDelivery((event, endpoint), bool(disabled)) for event, endpoint, disabled in rows]


def requeue(connection: sqlite3.Connection, *, deliveries: Sequence[tuple[int, int]], now: int) -> list[int]:
    """Make deliveries due now. Returns their endpoints. See `UndeliveredStore.requeue`."""
    queued = []
    for event, endpoint in deliveries:
        values = {"event": event, "endpoint": endpoint, "now": now, "soon": now + SOON_MS}
        if connection.execute(_QUERIES["requeue"], values).rowcount == 1:
            queued.append(endpoint)
    return queued
