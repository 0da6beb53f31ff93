"""Moves events that hosts commit in the same database into the log, with one call of the server per batch."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import anyio

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.outbox.horizon import Horizon, Reading
from starlette_webhooks.problems import Problem
from starlette_webhooks.relay.wakes import Wakes
from starlette_webhooks.stores.postgresql.connection import CallFailed
from starlette_webhooks.stores.postgresql.database import Database

__all__ = ["Moved", "OutboxMover", "erase_outbox", "identify_server"]

logger = logging.getLogger("starlette_webhooks")

_FILE = "moving.sql"
_ROWS = 1000
_BYTES = 33_554_432
_PAUSE = 0.5
# A commit without a hook usually follows soon after the row was written.
_SOON = 0.005


@dataclass(frozen=True, slots=True)
class Moved:
    """What a call moved, and who is interested in it. See `Appended`."""

    ids: Collection[str]
    endpoints: Collection[int]
    urgent: Collection[int]
    heard: bool


class OutboxMover:
    """Moves committed events when `wake` is called, together with other processes that do the same.

    Args:
        horizon: Where the rows begin.
        due_in: Milliseconds until the first attempt of a delivery.
        on_moved: Called on the event loop after each call that moved events.
    """

    def __init__(
        self,
        database: Database,
        horizon: Horizon,
        *,
        process: str,
        delivers: bool,
        due_in: int,
        on_moved: Callable[[Moved], None],
    ) -> None:
        self._database = database
        self._horizon = horizon
        self._process = process
        self._delivers = delivers
        self._due_in = due_in
        self._on_moved = on_moved
        self._queries = database.queries(_FILE)
        self._move_statement = self._queries["move"]
        if not delivers:
            self._move_statement += f" {database.queries('polling.sql')['and_hand_over']}"
        self._problem = Problem("Events of the hosts' transactions are being moved into the log again.")
        self._wakes = Wakes()
        self.wake = self._wakes.wake

    @property
    def problem(self) -> str | None:
        """Why events are not being moved, or None."""
        return self._problem.text

    async def run(self) -> None:
        """Move until cancelled."""
        self._wakes.start()
        while True:
            try:
                await self._move_all()
                self._problem.end()
            except BackendUnavailable as exc:
                self._problem.begin(f"Events that were emitted within transactions wait: {exc}")
                await anyio.sleep(_PAUSE)
                continue
            await self._wakes.wait(_SOON if self._wakes.expected else math.inf)

    async def _move_all(self) -> None:
        earlier = None
        while (found := await self._read()).first is not None:
            # A clock that was set back is before the first row.
            until = found.moment if found.first < found.moment else None
            try:
                moved = await self._move(None, _ROWS, found.first, until)
            except CallFailed as exc:
                if not self._is_rows_fault(exc):
                    raise
                moved = await self._move_apart()
            # Another process may have moved the first rows, and left those that were committed later.
            if not moved and found.first == earlier:  # pragma: no cover  Another process must lock the rows.
                return
            earlier = found.first

    async def _read(self) -> Reading:
        """Find the first row."""
        began, start = anyio.current_time(), self._horizon.start
        values = (*start.values, self._horizon.marks)
        ((first, moment, mark, snapshot),) = await self._database.call(self._queries["read"], values)
        found = Reading(first, moment, None if mark is None else int(mark), snapshot)
        self._horizon.read(start, found, anyio.current_time() - began)
        return found

    async def _move(self, only: str | None, rows: int, since: int = 0, until: int | None = None) -> bool:
        values = (only, since, until, rows, _BYTES, self._due_in, self._process, self._delivers)
        found = await self._database.call(self._move_statement, values)
        for ids, endpoints, urgent, heard in found:
            self._on_moved(Moved(ids, endpoints or (), urgent or (), heard))
        return bool(found)

    def _is_rows_fault(self, error: CallFailed) -> bool:
        if error.positions_taken:
            self._database.positions_are_taken(error, self._move_statement)
            return False
        return error.at_fault

    async def _move_apart(self) -> bool:
        """Move rows one by one. A row that cannot be moved becomes a dead letter and does not block others."""
        done = False
        for (id,) in await self._database.call(self._queries["first"], (_ROWS,)):
            try:
                done = await self._move(id, 1) or done
            except CallFailed as exc:
                if not self._is_rows_fault(exc):  # pragma: no cover  The server must fail in between.
                    raise
                code = "invalid"
                fields = log_fields("event.dead_lettered", eventId=id, code=code)
                logger.error("The event %s, emitted within a transaction, is dead-lettered: %s", id, exc, extra=fields)
                await self._database.call(self._queries["bury"], (id, code, str(exc)))
                done = True
        return done


async def identify_server(database: Database) -> str:
    """Return what PostgreSQL calls this server, or an empty text if the role may not read it. See `ServerIdentity`."""
    queries = database.queries(_FILE)
    ((allowed,),) = await database.call(queries["may_identify"])
    if not allowed:
        return ""
    ((identifier,),) = await database.call(queries["server"])
    return str(identifier)


async def erase_outbox(database: Database, tenant: str) -> None:
    """Delete a tenant's committed events that were not moved yet."""
    queries = database.queries(_FILE)
    await database.call(queries["erase"], (tenant,))
    await database.call(queries["erase_dead_letters"], (tenant,))
