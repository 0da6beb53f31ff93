"""Removes events from an outbox: reads, leases and deletes, each in its own short transaction."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.file_locks import FileLock
from starlette_webhooks.named_sql import substitute
from starlette_webhooks.outbox.connectors import Busy, Connector, MissingTable, Statement, connect
from starlette_webhooks.outbox.horizon import Horizon, Reading
from starlette_webhooks.outbox.outbox import Outbox
from starlette_webhooks.outbox.queries import queries_of
from starlette_webhooks.outbox.rows import Row, read_row

__all__ = ["Drain", "OtherLog", "OutboxFigures"]

_DETAIL = 2000
_DEAD_LETTERS = 500


@dataclass(frozen=True, slots=True)
class OutboxFigures:
    """What an outbox contains. Numbers are counted to 1,000 at most.

    Attributes:
        late: How long the oldest event has waited, in seconds.
    """

    waiting: int
    late: float
    dead_lettered: int


class OtherLog(BackendUnavailable):
    """Raised if the events go to another log than this process's."""

    message = "The events of this outbox go to another log than this process's."


class Drain:
    """The reading end of an outbox, for the relay and operators.

    Args:
        log: The name of the log that the events go to. Empty for one that other processes do not know.
        lease: Seconds after which another process takes over from one that has died.
    """

    def __init__(self, outbox: Outbox, *, log: str = "", lease: float = 3.0) -> None:
        self._outbox = outbox
        self._log = log
        self._lease = lease
        self._holder = uuid4().hex
        self._queries = queries_of(outbox.names)
        source = outbox.url or outbox.engines[0]
        self._connector: Connector = connect(source, outbox.place)
        # No other machine uses a SQLite file, and renewing a lease would write to it forever.
        self._is_local = outbox.place.dialect == "sqlite"
        path = outbox.place.database if self._is_local else None
        self._lock = None if path is None else FileLock(f"{path}.{outbox.names.name}.lock")
        self._held = False
        self._horizon = Horizon()
        self._deleted = False
        self.term = 0

    def _statement(self, name: str, **values: object) -> Statement:
        return self._queries[name], values

    def _of_ids(self, name: str, ids: Sequence[str], **values: object) -> Statement:
        named = {f"id{place}": id for place, id in enumerate(ids)}
        marks = ", ".join(f":{name}" for name in named)
        return substitute(self._queries[name], ids=marks), {**named, **values}

    async def check(self) -> None:
        """Check with each engine of the outbox that the table exists.

        Raises:
            MissingTable: It does not. The message says what to do.
        """
        others = self._outbox.engines[0 if self._outbox.url else 1 :]
        servers = set()
        for engine in (None, *others):
            connector = self._connector if engine is None else connect(engine, self._outbox.place)
            try:
                await connector.run(self._statement("count"), self._statement("found"))
                servers.add(await self._identify(connector))
            except MissingTable:
                self._outbox.missing = (
                    f"There is no table {self._outbox.names.quoted(self._outbox.names.name)} in {self._outbox.place}. "
                    "Create the tables with `outbox.metadata.create_all(engine)`, or add `outbox.metadata` to the "
                    "`target_metadata` of Alembic."
                )
                raise MissingTable(self._outbox.missing) from None
            finally:
                if engine is not None:
                    await connector.close()
        self._outbox.missing = None
        known = servers - {""}
        if len(known) > 1:
            raise RuntimeError(
                f"The engines of the outbox in {self._outbox.place} lead to different servers. Pass only "
                "engines of the same database to `Outbox`."
            )
        self._outbox.server.identifier = next(iter(known), "")

    async def _identify(self, connector: Connector) -> str:
        """Return the identifier of a server of PostgreSQL, or an empty text if it is unknown."""
        if self._outbox.place.dialect != "postgresql":
            return ""
        try:
            ((identifier,),) = await connector.run(self._statement("server"))
        except BackendUnavailable:
            # The role may not read it.
            return ""
        return str(identifier)

    async def lease(self) -> bool:
        """Become or stay the relaying process. Returns False while another process relays.

        Raises:
            OtherLog: The events go to another log.
        """
        if self._held:
            return True
        if self._lock is not None and not self._try_lock(self._lock):
            return False
        # Under the file lock, the next holder of the lock also gets the lease.
        microseconds = 0 if self._is_local else int(self._lease * 1_000_000)
        # A lease that ends even later was written while the clock of the database was wrong.
        lengths = {"microseconds": microseconds, "longest": 10 * microseconds}
        found = await self._connector.run(
            self._statement("prepare"),
            self._statement("lease", holder=self._holder, **lengths),
            *([self._statement("bind", log=self._log)] if self._log else []),
            self._statement("leader"),
        )
        ((holder, term, log),) = found
        if holder != self._holder:
            return False
        if log and log != self._log:
            await self.release()
            raise OtherLog(
                f"The outbox in {self._outbox.place} is emptied into another log than this process's, so that each "
                "event is in one log. Give all processes the same `WEBHOOKS_DATABASE`; or, if you have moved to this "
                "log, run `starlette-webhooks --app MODULE:WEBHOOKS adopt-outbox`."
            )
        self.term = term
        self._held = self._is_local
        return True

    def _try_lock(self, lock: FileLock) -> bool:
        try:
            lock.open()
        except OSError as exc:
            raise BackendUnavailable(
                f"The lock file {lock.path!r} cannot be opened: {exc.strerror}. Let this process write beside the "
                "database of the outbox."
            ) from exc
        return lock.try_acquire()

    async def release(self) -> None:
        """Let another process relay."""
        self._held = False
        if self._lock is not None:
            self._lock.close()
        await self._connector.run(self._statement("release", holder=self._holder))

    async def adopt(self) -> bool:
        """Have the events go to this process's log from now on. Returns whether they went to another one before.

        A process with that log stops relaying within a second or, on SQLite, when it ends.
        """
        ((_, _, before),) = await self._connector.run(self._statement("prepare"), self._statement("leader"))
        await self._connector.run(self._statement("adopt", log=self._log))
        return before not in ("", self._log)

    async def read(self, limit: int) -> list[Row]:
        """Return the first rows, in order."""
        if self._outbox.place.dialect == "postgresql":
            return await self._read_from_horizon(limit)
        sql = substitute(self._queries["read"], limit=str(limit))
        return [Row(id, tenant, _to_bytes(body)) for id, tenant, body in await self._connector.run((sql, {}))]

    async def _read_from_horizon(self, limit: int) -> list[Row]:
        sql = substitute(self._queries["read_from"], limit=str(limit))
        began, start = time.monotonic(), self._horizon.start
        floor, numbers, times = start.values
        values = {
            "floor": floor,
            "numbers": ",".join(numbers),
            "times": ",".join(map(str, times)),
            # An idle relay reads five times a second.
            "marks": self._deleted and self._horizon.marks,
        }
        found = await self._connector.run((sql, values))
        moment, mark, snapshot, *_, first = found[0]
        self._deleted = self._deleted and mark is None
        reading = Reading(first, moment, None if mark is None else int(mark), snapshot)
        self._horizon.read(start, reading, time.monotonic() - began)
        return [Row(id, tenant, _to_bytes(body)) for _, _, _, id, tenant, body, _ in found if id is not None]

    async def delete(self, ids: Sequence[str]) -> None:
        """Delete rows whose events were accepted, unless another process relays now."""
        await self._connector.run(self._of_ids("delete", ids, term=self.term))
        self._deleted = True

    async def bury(self, row: Row, code: str, detail: str) -> None:
        """Move a row to the dead letters."""
        await self._connector.run(
            self._statement("bury", id=row.id, code=code[:256], detail=detail[:_DETAIL], term=self.term),
            self._of_ids("delete", [row.id], term=self.term),
        )

    async def figures(self) -> OutboxFigures:
        """Return what waits and what is dead-lettered.

        Raises:
            BackendUnavailable: The database is unavailable, or the host is in a transaction on the only connection.
        """
        try:
            ((waiting, late, dead),) = await self._connector.run(self._statement("figures"))
        except Busy as exc:
            raise BackendUnavailable("The host uses the only connection.") from exc
        return OutboxFigures(int(waiting), max(int(late), 0) / 1_000_000, int(dead))

    async def dead_letters(self, *, tenant: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """See `DeadLetters.dead_letters`."""
        name, values = ("dead_letters", {}) if tenant is None else ("dead_letters_of_tenant", {"tenant": tenant})
        rows = await self._connector.run((substitute(self._queries[name], limit=str(limit)), values))
        return [
            DeadLetter(
                id,
                owner,
                read_row(Row(id, owner, _to_bytes(body))),
                code,
                detail,
                datetime.fromtimestamp(created_at / 1_000_000, UTC),
            )
            for id, owner, body, code, detail, created_at in rows
        ]

    async def redrive(self, tenant: str | None = None, *, ids: Collection[str] | None = None) -> int:
        """See `DeadLetters.redrive`."""
        return await self._change(tenant, ids, "redrive", "discard")

    async def discard(self, ids: Collection[str]) -> int:
        """See `DeadLetters.discard`."""
        return await self._change(None, ids, "discard")

    async def dead_letter_tenants(self, ids: Collection[str]) -> Mapping[str, str]:
        """See `DeadLetters.dead_letter_tenants`."""
        wanted = frozenset(ids)
        found = await self._connector.run(self._statement("dead_letter_ids"))
        return {id: owner for id, owner in found if id in wanted}

    async def _change(self, tenant: str | None, ids: Collection[str] | None, *names: str) -> int:
        # Chosen before the first change, because the relay may dead-letter them again in the meantime.
        chosen = [
            id
            for id, owner in await self._connector.run(self._statement("dead_letter_ids"))
            if (tenant is None or owner == tenant) and (ids is None or id in ids)
        ]
        for start in range(0, len(chosen), _DEAD_LETTERS):
            batch = chosen[start : start + _DEAD_LETTERS]
            await self._connector.run(*[self._of_ids(name, batch) for name in names])
        return len(chosen)

    async def erase(self, tenant: str) -> None:
        """Delete all committed events of a tenant."""
        values: Mapping[str, str] = {"tenant": tenant}
        await self._connector.run(self._statement("erase", **values), self._statement("erase_dead_letters", **values))

    async def close(self) -> None:
        """Close what is open."""
        await self._connector.close()


def _to_bytes(body: Any) -> bytes:
    # SQLite stores whatever type another program inserts.
    return bytes(body) if isinstance(body, bytes | memoryview | bytearray) else str(body).encode()
