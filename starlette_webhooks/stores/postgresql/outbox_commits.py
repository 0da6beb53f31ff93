"""Group commits of the outbox: one call of the server stores new events, and another one stores results.

Runs on the thread of the writer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.relay.outbox import EntryState, OutboxEntry
from starlette_webhooks.stores.moments import from_ms, to_ms
from starlette_webhooks.stores.postgresql.connection import CallFailed, CallLost, Link, Row
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.writes import Batch, Write

__all__ = ["OutboxCommitter", "Put", "PutResult", "Settle", "to_entry"]

_PAUSE = 0.1
_EVENTS = 2000


@dataclass(frozen=True, slots=True)
class Put:
    """Events to store, all or none."""

    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class PutResult:
    """All events as stored, and whether any of them is new."""

    events: Sequence[Event]
    fresh: bool


@dataclass(frozen=True, slots=True)
class Settle:
    """The result of an event for `outbox_settle_2`, recorded by the process that relays in this term.

    Term 0 is always recorded.
    """

    values: dict[str, Any]
    term: int


def to_entry(row: Sequence[Any]) -> OutboxEntry:
    """Return an entry from the columns that `outbox.sql` selects."""
    seq, tenant, event_id, event_type, timestamp, channels, payload, state, message_id, code, detail = row[:11]
    labels = tuple(channels.split(",")) if channels else ()
    event = Event(message_id or "", tenant, event_type, payload, from_ms(timestamp), event_id, labels)
    return OutboxEntry(seq, event, EntryState(state), code or "", detail or "")


class OutboxCommitter:
    """Commits batches of `Put`, `Settle` and None, which only waits for earlier ones. Uses its own connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._link = Link(database.info)
        queries = database.queries("outbox.sql")
        self._put, self._settle = queries["put"], queries["settle"]

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def commit(self, batch: Batch) -> None:
        """Commit a batch, and store results and errors in its writes."""
        puts = [write for write in batch.writes if isinstance(write.operation, Put)]
        settled: dict[int, list[Write[Any]]] = {}
        for write in batch.writes:
            if isinstance(write.operation, Settle):
                settled.setdefault(write.operation.term, []).append(write)
        for term, writes in settled.items():
            self._together(writes, partial(self._call_settle, term))
        for start in range(0, len(puts), _EVENTS):
            self._together(puts[start : start + _EVENTS], self._call_put)

    def _together(self, writes: Sequence[Write[Any]], call: Callable[[Sequence[Write[Any]]], None]) -> None:
        try:
            call(writes)
        except CallFailed as exc:
            if len(writes) > 1 and exc.at_fault:
                # One of them is at fault, and must fail alone.
                for write in writes:
                    self._together([write], call)
                return
            _fail(writes, exc)
        except Exception as exc:
            _fail(writes, exc)

    def _call_settle(self, term: int, writes: Sequence[Write[Any]]) -> None:
        ((done,),) = self._persist(self._settle, (json.dumps([write.operation.values for write in writes]), term))
        if not done:
            raise BackendUnavailable("Another process relays now, and records the result of the event.")

    def _call_put(self, writes: Sequence[Write[Any]]) -> None:
        events = [event for write in writes for event in write.operation.events]
        values = (
            [event.tenant for event in events],
            [event.event_id for event in events],
            [event.type for event in events],
            [to_ms(event.timestamp) for event in events],
            [",".join(event.channels) or None for event in events],
            [event.payload for event in events],
        )
        found = [to_entry(row).event for row in self._persist(self._put, values)]
        known = {(event.tenant, event.event_id): event for event in found}
        for write in writes:
            stored: list[Event] = []
            fresh = False
            for event in write.operation.events:
                key = (event.tenant, event.event_id)
                if key not in known:
                    fresh = True
                    # Svix assigns the id, so the one from the host is dropped.
                    known[key] = replace(event, id="") if event.id else event
                stored.append(known[key])
            write.result = PutResult(stored, fresh)

    def _persist(self, statement: str, values: Sequence[Any]) -> list[Row]:
        """Repeat an idempotent call until it succeeds or the deadline has passed, and return its rows."""
        deadline = time.monotonic() + self._database.deadline
        in_doubt = False
        while True:
            if not self._link.is_open and not in_doubt:
                # A short interruption delays emits. After a longer one, they fail instead of waiting.
                self._database.availability.check(patience=self._database.deadline)
            try:
                rows = self._link.call(statement, values, deadline=deadline)
                self._database.availability.is_there(statement)
                return rows
            except BackendUnavailable as exc:
                self._database.learn(exc, statement)
                if isinstance(exc, CallFailed) and not exc.elsewhere:
                    raise
                in_doubt = in_doubt or isinstance(exc, CallLost)
                if time.monotonic() + _PAUSE > deadline:
                    if in_doubt:
                        raise BackendUnavailable(f"It is unknown whether the outbox has the event: {exc}") from exc
                    raise
            time.sleep(_PAUSE)


def _fail(writes: Sequence[Write[Any]], error: Exception) -> None:
    for write in writes:
        write.error = error
