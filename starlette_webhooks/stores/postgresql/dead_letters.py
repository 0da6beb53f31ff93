"""The dead letters of the outbox that hosts in the same database write to."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.outbox.rows import Row, read_row
from starlette_webhooks.stores.moments import from_us
from starlette_webhooks.stores.postgresql.database import Database

__all__ = ["OutboxDeadLetters"]


class OutboxDeadLetters:
    """See `DeadLetters`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = database.queries("moving.sql")

    async def dead_letters(self, *, tenant: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """See `DeadLetters.dead_letters`."""
        rows = await self._database.call(self._queries["dead_letters"], {"tenant": tenant, "limit": limit})
        return [
            DeadLetter(id, owner, read_row(Row(id, owner, bytes(body))), code, detail, from_us(created_at))
            for id, owner, body, code, detail, created_at in rows
        ]

    async def redrive(self, tenant: str | None = None, *, ids: Collection[str] | None = None) -> int:
        """See `DeadLetters.redrive`."""
        values = {"tenant": tenant, "ids": None if ids is None else list(ids)}
        ((count,),) = await self._database.call(self._queries["redrive"], values)
        return int(count)

    async def discard(self, ids: Collection[str]) -> int:
        """See `DeadLetters.discard`."""
        ((count,),) = await self._database.call(self._queries["discard"], (list(ids),))
        return int(count)

    async def dead_letter_tenants(self, ids: Collection[str]) -> Mapping[str, str]:
        """See `DeadLetters.dead_letter_tenants`."""
        return dict(await self._database.call(self._queries["dead_letter_tenants"], (list(ids),)))
