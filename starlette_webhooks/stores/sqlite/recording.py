"""What came of attempts: recording it, and removing or rescheduling the deliveries.

The functions take a connection and run on the database's threads; times are in milliseconds since the epoch.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from starlette_webhooks.stores.sqlite.queries import in_one_row, load_queries
from starlette_webhooks.stores.sqlite.queue import Job

__all__ = ["DisabledEndpoint", "OnDisabled", "Outcome", "Recording", "record"]

_QUERIES = load_queries("recording.sql")
_HOUR = 3_600_000
_ROWS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an attempt.

    Attributes:
        started, ended: When.
        next_due: When to try again after a failure; None for never.
        pause_until: Until when the receiver wants no attempts at all, or 0.
    """

    job: Job
    attempt_id: str
    ok: bool
    started: int
    ended: int
    duration_ms: int
    status_code: int = 0
    response: str = ""
    error: str = ""
    next_due: int | None = None
    pause_until: int = 0


@dataclass(frozen=True, slots=True)
class DisabledEndpoint:
    """An endpoint that was disabled just now. `reason` is `gone` or `failing`."""

    id: str
    tenant: str
    url: str
    reason: str


OnDisabled: TypeAlias = Callable[[sqlite3.Connection, DisabledEndpoint], None]


class Recording:
    """Records an attempt. Answers the endpoint, where the attempt has disabled it.

    Args:
        disable_after: See `record`.
        on_disabled: Called when an endpoint is disabled, within the same transaction.
    """

    __slots__ = ("disable_after", "on_disabled", "outcome")

    def __init__(self, outcome: Outcome, *, disable_after: int, on_disabled: OnDisabled) -> None:
        self.outcome = outcome
        self.disable_after = disable_after
        self.on_disabled = on_disabled

    @property
    def together(self) -> Callable[[sqlite3.Connection, Sequence[Recording]], list[DisabledEndpoint | None]]:
        """See `Database.submit`."""
        return _record_together

    def __call__(self, connection: sqlite3.Connection) -> DisabledEndpoint | None:
        disabled = record(connection, self.outcome, disable_after=self.disable_after)
        if disabled is not None:
            self.on_disabled(connection, disabled)
        return disabled


def _record_together(connection: sqlite3.Connection, recordings: Sequence[Recording]) -> list[DisabledEndpoint | None]:
    # With the same effect as each in turn. Successes of endpoints that work well take a few statements for all, as each
    # statement costs several changes of threads (see `_insert_together`).
    outcomes = [recording.outcome for recording in recordings]
    working = _working(connection, outcomes)
    if working:
        _record_successes(connection, [outcome for outcome in outcomes if outcome.job.endpoint in working])
    return [None if recording.outcome.job.endpoint in working else recording(connection) for recording in recordings]


def _working(connection: sqlite3.Connection, outcomes: Sequence[Outcome]) -> set[int]:
    """Endpoints that have not failed, neither before nor now: where one attempt fails, the order of all counts."""
    endpoints = {outcome.job.endpoint for outcome in outcomes if outcome.ok}
    endpoints -= {outcome.job.endpoint for outcome in outcomes if not outcome.ok}
    if not endpoints:
        return set()
    return set(in_one_row(connection, _QUERIES["works_well"], (json.dumps(list(endpoints)),)))


def _record_successes(connection: sqlite3.Connection, outcomes: Sequence[Outcome]) -> None:
    held = [(outcome.job.id, outcome.job.number, outcome.job.lease) for outcome in outcomes]
    connection.execute(_QUERIES["finish_all"], (json.dumps(held),))
    for part in _parts(outcomes):
        values = [value for outcome in part for value in _row(outcome)]
        connection.execute(_insert_statement(len(part)), values)
    hours = Counter((outcome.job.endpoint, outcome.started - outcome.started % _HOUR) for outcome in outcomes)
    counts = json.dumps([(*key, count) for key, count in hours.items()])
    connection.execute(_QUERIES["count_successes"], (counts,))


def _parts(outcomes: Sequence[Outcome]) -> Iterator[Sequence[Outcome]]:
    """Of 128, 64, 32 and so on, so that few statements are prepared."""
    start, size = 0, _ROWS
    while start < len(outcomes):
        while size > len(outcomes) - start:
            size //= 2
        yield outcomes[start : start + size]
        start += size


def _row(outcome: Outcome) -> Sequence[Any]:
    job = outcome.job
    return (
        job.event,
        outcome.attempt_id,
        job.endpoint,
        job.number,
        outcome.started,
        outcome.status_code,
        outcome.duration_ms,
        job.url,
        outcome.response,
        job.trigger,
    )


@cache
def _insert_statement(rows: int) -> str:
    return _QUERIES["insert_successes"].replace(":rows", ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows))


def record(connection: sqlite3.Connection, outcome: Outcome, *, disable_after: int) -> DisabledEndpoint | None:
    """Record an attempt, and remove or reschedule its delivery where the lease is still held.

    What belongs to an endpoint that was deleted meanwhile is dropped.

    Args:
        disable_after: Milliseconds of nothing but failures that disable an endpoint; 0 for never.

    Returns:
        The endpoint, where this attempt has disabled it.
    """
    job = outcome.job
    state = connection.execute(_QUERIES["endpoint_state"], (job.endpoint,)).fetchone()
    if state is None:
        return None
    failing_since, disabled_reason = state
    held = _settle(connection, outcome)
    disabled = None
    if outcome.ok:
        if failing_since is not None:
            connection.execute(_QUERIES["works"], (job.endpoint,))
    else:
        if failing_since is None:
            connection.execute(_QUERIES["fails"], (outcome.started, job.endpoint))
            failing_since = outcome.started
        if disabled_reason is None:
            disabled = _disable(connection, outcome, failing_since, disable_after)
        if outcome.pause_until:
            connection.execute(_QUERIES["pause"], (outcome.pause_until, job.endpoint))
    _log(connection, outcome, outcome.next_due if held and disabled is None else None)
    return disabled


def _settle(connection: sqlite3.Connection, outcome: Outcome) -> bool:
    job = outcome.job
    values = {"id": job.id, "number": job.number, "lease": job.lease, "next_due": outcome.next_due}
    statement = "finish" if outcome.ok or outcome.next_due is None else "reschedule"
    return connection.execute(_QUERIES[statement], values).rowcount == 1


def _disable(
    connection: sqlite3.Connection, outcome: Outcome, failing_since: int, disable_after: int
) -> DisabledEndpoint | None:
    job = outcome.job
    if outcome.status_code == 410:
        reason = "gone"
    elif disable_after and outcome.ended - failing_since >= disable_after:
        reason = "failing"
    else:
        return None
    connection.execute(_QUERIES["disable"], (reason, outcome.ended, job.endpoint))
    connection.execute(_QUERIES["unsubscribe"], (job.endpoint,))
    return DisabledEndpoint(job.endpoint_id, job.tenant, job.url, reason)


def _log(connection: sqlite3.Connection, outcome: Outcome, next_due: int | None) -> None:
    job = outcome.job
    values = {
        "attempt_id": outcome.attempt_id,
        "event": job.event,
        "endpoint": job.endpoint,
        "ok": outcome.ok,
        "number": job.number,
        "started": outcome.started,
        "status_code": outcome.status_code,
        "duration_ms": outcome.duration_ms,
        "url": job.url,
        "response": outcome.response,
        "error": outcome.error,
        "trigger": job.trigger,
        "next_due": next_due,
        "hour": outcome.started - outcome.started % _HOUR,
    }
    connection.execute(_QUERIES["insert_attempt"], values)
    connection.execute(_QUERIES["count_attempt"], values)
