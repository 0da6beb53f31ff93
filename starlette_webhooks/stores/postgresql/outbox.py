"""The outbox in PostgreSQL, which all machines share, so that a host without a disk loses nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.events import Event
from starlette_webhooks.forks import call_in_children
from starlette_webhooks.payloads import is_implied_event_id
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.relay.outbox import EntryState, OutboxCounts, OutboxEntry
from starlette_webhooks.stores.moments import from_ms, to_ms
from starlette_webhooks.stores.postgresql.conninfo import parse_url
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.postgresql.meta import SharedValues
from starlette_webhooks.stores.postgresql.outbox_commits import OutboxCommitter, Put, PutResult, Settle, to_entry
from starlette_webhooks.stores.postgresql.relay_lease import RelayLease
from starlette_webhooks.stores.writer import Writer
from starlette_webhooks.stores.writes import Submitted, Write
from starlette_webhooks.types import Clock

__all__ = ["PostgreSQLOutbox"]

_FILE = "outbox.sql"
_ROW_SIZE = 200
_BATCH = 500
_BATCH_BYTES = 4_194_304
_MOST_COUNTED = 100_000
# Only the emitter mints such ids, so they are unlikely to repeat, and Svix remembers them for at least a day.
_KEEP_MINTED = 86_400.0
# A check further ahead than this was planned before the clock was set back.
_LATEST_CHECK = 600_000


class PostgreSQLOutbox(SharedValues):
    """Events that Svix has not accepted yet and, for some time, those that it has. See `OutboxStore`.

    Args:
        retention: Seconds for which the `event_id` of an accepted event is remembered.
        lease: The length of the relay's lease in seconds.
        options: See `Database`.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        retention: float,
        max_events: int,
        max_bytes: int,
        lease: float = 2.4,
        **options: Any,
    ) -> None:
        self.database = Database(parse_url(url), **options)
        self._clock = clock
        self._retention = retention
        self._committer = OutboxCommitter(self.database)
        self._writer = Writer(self._committer.commit, max_writes=max_events, max_bytes=max_bytes)
        self._lease_seconds = lease
        self._lease: RelayLease | None = None

    def _now(self) -> int:
        return int(self._clock() * 1000)

    @property
    def shared(self) -> bool:
        """See `OutboxStore.shared`."""
        return True

    @property
    def problem(self) -> str | None:
        """See `OutboxStore.problem`."""
        return self.database.availability.reason

    @asynccontextmanager
    async def lifespan(self, on_commit: Callable[[bool], None]) -> AsyncIterator[None]:
        """See `OutboxStore.lifespan`."""

        def committed(writes: Sequence[Write[Any]]) -> None:
            on_commit(any(isinstance(write.result, PutResult) and write.result.fresh for write in writes))

        self._writer.on_commit.append(committed)
        try:
            async with self.database.lifespan(), self._writing(), running_beside(self.database.supervise):
                yield
        finally:
            self._writer.on_commit.remove(committed)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        call_in_children(self)
        self._writer.start()
        try:
            yield
        finally:
            # Shielded: submitted events must be committed, and callers must not wait forever.
            with anyio.CancelScope(shield=True):
                await self._writer.stop(self._committer.close)

    def after_fork(self) -> None:
        """See `Inherited`. The connections belong to the parent and stay untouched."""
        self._writer.after_fork()

    def lock(self, time: TimeSource) -> RelayLease:
        """See `OutboxStore.lock`."""
        self._lease = RelayLease(self.database, time, seconds=self._lease_seconds)
        return self._lease

    def submit(self, events: Sequence[Event]) -> Submitted:
        """See `OutboxStore.submit`."""
        size = sum(len(event.payload) + _ROW_SIZE for event in events)
        return self._writer.submit(Submitted, Put(events), size, True)

    async def committed(self) -> None:
        """See `OutboxStore.committed`."""
        await self._writer.submit(Write, None, 0, False).wait()

    async def _call(self, name: str, values: Any = ()) -> list[Any]:
        return await self.database.call(self.database.queries(_FILE)[name], values)

    # Looking up

    async def find(self, tenant: str, event_id: str) -> OutboxEntry | None:
        """See `OutboxStore.find`."""
        rows = await self._call("find", (tenant, event_id))
        return to_entry(rows[0]) if rows else None

    async def waits(self, tenant: str | None = None) -> bool:
        """See `OutboxStore.waits`."""
        name, values = ("anything_waits", ()) if tenant is None else ("waits", (tenant,))
        ((waits,),) = await self._call(name, values)
        return bool(waits)

    async def counts(self) -> OutboxCounts:
        """See `OutboxStore.counts`. Counted up to 100,000."""
        ((waiting, oldest, dead_lettered),) = await self._call("counts", {"most": _MOST_COUNTED})
        return OutboxCounts(waiting, None if oldest is None else oldest / 1000, dead_lettered)

    # Forwarding

    async def tenants(self, after: int | None) -> tuple[list[str], int]:
        """See `Outbox.tenants`."""
        name, values = ("tenants", ()) if after is None else ("tenants_after", (after,))
        ((position, found),) = await self._call(name, values)
        # After pruning, the greatest remaining position may be lower.
        return found, max(position, after or 0)

    async def next(self, tenant: str, limit: int) -> list[OutboxEntry]:
        """See `Outbox.next`."""
        values = {"tenant": tenant, "limit": limit, "bytes": _BATCH_BYTES}
        return [to_entry(row) for row in await self._call("next", values)]

    async def accept(self, entry: OutboxEntry, event: Event, *, check_at: float | None) -> Write[None]:
        """See `Outbox.accept`."""
        values = {
            "seq": entry.seq,
            "state": EntryState.ACCEPTED,
            "timestamp": to_ms(event.timestamp),
            **self._accepted(event, check_at),
        }
        if event.payload != entry.event.payload:
            values |= {"type": event.type, "channels": _labels(event), "payload": event.payload.decode()}
        return self._settle(values)

    async def record(self, event: Event, *, check_at: float | None) -> None:
        """See `OutboxStore.record`."""
        accepted = self._accepted(event, check_at)
        accepted["now"] = accepted.pop("settled_at")
        values = {
            "tenant": event.tenant,
            "event_id": event.event_id,
            "type": event.type,
            "timestamp": to_ms(event.timestamp),
            "channels": _labels(event),
            "payload": event.payload,
            **accepted,
        }
        await self._call("record", values)

    def _accepted(self, event: Event, check_at: float | None) -> dict[str, Any]:
        keep = min(_KEEP_MINTED, self._retention) if is_implied_event_id(event.event_id) else self._retention
        return {
            "message_id": event.id or None,
            "settled_at": self._now(),
            "keep_until": self._now() + int(keep * 1000),
            "check_at": None if check_at is None else int(check_at * 1000),
        }

    async def dead_letter(self, entry: OutboxEntry, code: str, detail: str) -> Write[None]:
        """See `Outbox.dead_letter`."""
        values = {"seq": entry.seq, "state": EntryState.DEAD_LETTERED, "settled_at": self._now()}
        return self._settle({**values, "code": _text(code), "detail": _text(detail)})

    def _settle(self, values: dict[str, Any]) -> Write[None]:
        # A process that never tried to relay, such as a script, does not compete with others.
        term = 0 if self._lease is None else self._lease.term
        return self._writer.submit(Write, Settle(values, term), 0, False)

    # For the operator

    async def dead_letters(self, *, tenant: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """See `DeadLetters.dead_letters`."""
        rows = await self._call("dead_letters", {"tenant": tenant, "limit": limit})
        return [DeadLetter(str(row[0]), row[1], to_entry(row).event, row[9], row[10], from_ms(row[11])) for row in rows]

    async def redrive(self, tenant: str | None = None, *, ids: Collection[str] | None = None) -> int:
        """See `DeadLetters.redrive`."""
        values = {"tenant": tenant, "seqs": None if ids is None else _seqs(ids)}
        ((count,),) = await self._call("redrive", values)
        return int(count)

    async def discard(self, ids: Collection[str]) -> int:
        """See `DeadLetters.discard`."""
        ((count,),) = await self._call("discard", (_seqs(ids),))
        return int(count)

    async def dead_letter_tenants(self, ids: Collection[str]) -> Mapping[str, str]:
        """See `DeadLetters.dead_letter_tenants`."""
        return dict(await self._call("dead_letter_tenants", (_seqs(ids),)))

    # Keeping order

    async def in_doubt(self) -> list[OutboxEntry]:
        """See `OutboxStore.in_doubt`."""
        now = self._now()
        values = {"now": now, "too_late": now + _LATEST_CHECK, "batch": _BATCH}
        return [to_entry(row) for row in await self._call("in_doubt", values)]

    async def resolve(self, entry: OutboxEntry, check_again_at: float | None = None) -> None:
        """See `OutboxStore.resolve`."""
        await self._call("resolve", (None if check_again_at is None else int(check_again_at * 1000), entry.seq))

    async def prune(self) -> bool:
        """See `OutboxStore.prune`."""
        ((count,),) = await self._call("prune", (self._now(), _BATCH))
        return bool(count)

    async def erase(self, tenant: str) -> None:
        """See `OutboxStore.erase`."""
        while (await self._call("erase", (tenant, _BATCH)))[0][0]:
            pass

    # Other state of the backend

    async def owned_event_types(self) -> list[str]:
        """See `OutboxStore.owned_event_types`."""
        return [name for (name,) in await self._call("owned_event_types")]

    async def own_event_types(self, names: Collection[str]) -> None:
        """See `OutboxStore.own_event_types`."""
        await self._call("own_event_types", (list(names),))

    async def disown_event_type(self, name: str) -> None:
        """See `OutboxStore.disown_event_type`."""
        await self._call("disown_event_type", (name,))


def _seqs(ids: Collection[str]) -> list[int]:
    # The ids of dead letters in other outboxes are no numbers.
    return [int(id) for id in ids if id.isdecimal()]


def _labels(event: Event) -> str | None:
    return ",".join(event.channels) or None


def _text(text: str) -> str:
    # PostgreSQL cannot store text with NUL.
    return text.replace("\0", "")
