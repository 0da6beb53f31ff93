"""Group commits: one call of the server stores all waiting events. Runs on the thread of the writer."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.feed import Entry
from starlette_webhooks.forks import ProcessName
from starlette_webhooks.payloads import implied_event_id
from starlette_webhooks.stores.moments import to_ms
from starlette_webhooks.stores.postgresql.connection import CallFailed, CallLost, Link
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.postgresql.rows import to_event
from starlette_webhooks.stores.writes import Batch, Write

__all__ = ["Append", "Appended", "Appender", "endpoints_of"]

_SEPARATOR = "\x1f"
# The limits of one call, which the server keeps in memory.
_EVENTS = 2000
_BYTES = 33_554_432
_PAUSE = 0.1
_THERE_BEFORE = "23505"


@dataclass(frozen=True, slots=True)
class Append:
    """Events to be written, all or none.

    Attributes:
        due_in: Milliseconds until the first attempt.
        endpoint: Deliver to this endpoint only, ignoring its filters.
    """

    events: Sequence[Event]
    due_in: int = 0
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """The result of an `Append`.

    Attributes:
        events: All of its events, as stored.
        positions: The position of each in the log, or 0 for an event that already existed.
        endpoints: The endpoints that got deliveries, of its events and of others in the same call.
        urgent: The endpoints that got urgent ones.
        heard: Whether another process wants a hint about it.
        log: The log that contains it. See `webhooks.log_1`.
    """

    events: Sequence[Event]
    positions: Sequence[int]
    endpoints: Collection[int]
    urgent: Collection[int]
    heard: bool
    log: str

    @property
    def entries(self) -> list[Entry]:
        """The new events with their positions."""
        return [Entry(position, event) for position, event in zip(self.positions, self.events, strict=True) if position]


def endpoints_of(appended: Sequence[Appended]) -> tuple[dict[int, None], dict[int, None]]:
    """Return the endpoints that got deliveries, and those that got urgent ones, in order."""
    due: dict[int, None] = {}
    urgent: dict[int, None] = {}
    seen: object = None
    for one in appended:
        # Events of one call share their endpoints.
        if one.endpoints is not seen or one.urgent:
            seen = one.endpoints
            due.update(dict.fromkeys(one.endpoints))
            urgent.update(dict.fromkeys(one.urgent))
    return due, urgent


class Appender:
    """Commits batches of `Append`, on a connection of its own.

    Args:
        process: The name under which this process listens.
        delivers: Whether this process delivers.
    """

    def __init__(self, database: Database, *, process: ProcessName, delivers: bool) -> None:
        self._database = database
        self._process = process
        self._delivers = delivers
        self._link = Link(database.info)
        queries = database.queries("log.sql")
        self._append, self._events_at = queries["append"], queries["events_at"]
        self._append_traced = queries["append_traced"]
        if not delivers:
            hand_over = database.queries("polling.sql")["and_hand_over"]
            self._append += f" {hand_over}"
            self._append_traced += f" {hand_over}"

    def commit(self, batch: Batch) -> None:
        """Commit a batch, and store results and errors in its writes."""
        deadline = batch.started + self._database.deadline
        for _, group in groupby(batch.writes, key=lambda write: (write.operation.due_in, write.operation.endpoint)):
            for part in _parts(list(group)):
                self._commit_part(part, deadline)

    def _commit_part(self, writes: Sequence[Write[Any]], deadline: float) -> None:
        try:
            for write, result in zip(writes, self._call([write.operation for write in writes], deadline), strict=True):
                write.result = result
        except CallFailed as exc:
            if len(writes) > 1 and exc.at_fault:
                # One of them is at fault, and must fail alone.
                for write in writes:
                    self._commit_part([write], deadline)
                return
            if exc.positions_taken:
                self._database.positions_are_taken(exc, self._append)
            _fail(writes, exc)
        except BackendUnavailable as exc:
            if not self._database.availability.away:
                # For example because somebody holds the lock of the log.
                self._database.availability.has_failed(self._append, str(exc))
            _fail(writes, exc)
        except Exception as exc:  # pragma: no cover  Only a fault of ours.
            _fail(writes, exc)

    def _call(self, appends: Sequence[Append], deadline: float) -> list[Appended]:
        events = [event for append in appends for event in append.events]
        append = appends[0]
        keyed = append.endpoint is not None or not all(map(_is_plain, events))
        again = False
        while True:
            if not self._link.is_open and not again:
                # A short interruption delays emits. After a longer one, they fail instead of waiting.
                self._database.availability.check(patience=self._database.deadline)
            try:
                values = (*_pack(events, keyed or again), append.due_in, keyed or again, again, append.endpoint)
                values += (self._process.text, self._delivers)
                statement = self._append
                if any(event.trace for event in events):
                    statement, values = self._append_traced, values + _traces(events)
                rows = self._link.call(statement, values, deadline=deadline)
                self._database.availability.is_there(self._append)
                ((positions, *told),) = [row[:5] for row in rows]
                return self._results(appends, positions, told, deadline)
            except BackendUnavailable as exc:
                self._database.learn(exc, self._append)
                if isinstance(exc, CallFailed) and not exc.elsewhere:
                    if again or exc.sqlstate != _THERE_BEFORE:
                        raise
                    # A relay forwards an event again if it does not know whether the event was accepted.
                    again = True
                    continue
                # They may be stored. The next call finds out by their ids.
                again = again or isinstance(exc, CallLost)
                if time.monotonic() + _PAUSE > deadline:
                    if again:
                        raise BackendUnavailable(f"It is unknown whether the event was stored: {exc}") from exc
                    raise
            time.sleep(_PAUSE)

    def _results(
        self,
        appends: Sequence[Append],
        positions: Sequence[int],
        told: Sequence[Any],
        deadline: float,
    ) -> list[Appended]:
        told = (told[0] or (), told[1] or (), *told[2:])
        count = sum(len(append.events) for append in appends)
        results = []
        if len(positions) < count:
            first = positions[0]
            for append in appends:
                end = first + len(append.events)
                results.append(Appended(append.events, range(first, end), *told))
                first = end
            return results
        known = [-position for position in positions if position < 0]
        stored = {}
        if known:
            rows = self._link.call(self._events_at, (known,), deadline=deadline)
            stored = {row[0]: to_event(row) for row in rows}
        given = iter(positions)
        for append in appends:
            own = [next(given) for _ in append.events]
            # An event that was removed meanwhile is returned as it was passed.
            events = [stored.get(-at, event) for at, event in zip(own, append.events, strict=True)]
            results.append(Appended(events, [max(at, 0) for at in own], *told))
        return results

    def close(self) -> None:
        """Close the connection."""
        self._link.close()


def _fail(writes: Sequence[Write[Any]], error: Exception) -> None:
    for write in writes:
        write.error = error


def _parts(writes: Sequence[Write[Any]]) -> list[list[Write[Any]]]:
    parts: list[list[Write[Any]]] = [[]]
    count = size = 0
    for write in writes:
        count += len(write.operation.events)
        size += sum(len(event.payload) for event in write.operation.events)
        if parts[-1] and (count > _EVENTS or size > _BYTES):  # pragma: no cover  Needs 32 MiB in one batch.
            parts.append([])
            count, size = len(write.operation.events), 0
        parts[-1].append(write)
    return parts


def _is_plain(event: Event) -> bool:
    return not event.channels and event.event_id == implied_event_id(event.id) and not event.test


def _traces(events: Sequence[Event]) -> tuple[str, str, str]:
    """Return what `append_traced` needs to note the trace contexts of events."""
    join = _SEPARATOR.join
    return (
        join([event.id for event in events]),
        join([event.tenant for event in events]),
        join([event.trace or "" for event in events]),
    )


def _pack(events: Sequence[Event], keyed: bool) -> tuple[Any, ...]:
    """Return the arguments of the call. No text contains the separator, which is checked when events are created."""
    join = _SEPARATOR.join
    sizes = [len(event.payload) for event in events]
    starts, start = [], 1
    for size in sizes:
        starts.append(str(start))
        start += size
    return (
        join([event.id for event in events]),
        join([event.tenant for event in events]),
        join([event.type for event in events]),
        join([str(to_ms(event.timestamp)) for event in events]),
        join(["" if event.event_id == implied_event_id(event.id) else event.event_id for event in events])
        if keyed
        else "",
        join([",".join(event.channels) for event in events]) if keyed else "",
        join(["1" if event.test else "" for event in events]) if keyed else "",
        join(starts),
        join(map(str, sizes)),
        b"".join([event.payload for event in events]),
    )
