"""Records attempts, and removes or reschedules their deliveries. `delivery.records` decides what changes.

The functions take a connection and run on the database's threads. Times are in milliseconds since the epoch.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from starlette_webhooks.delivery.deliveries import DisabledEndpoint, Outcome
from starlette_webhooks.delivery.notices import FAILING_ATTEMPTS, endpoint_notices, may_have_recovered, message_notice
from starlette_webhooks.delivery.records import EndpointState, is_finished, next_state, proven_server
from starlette_webhooks.events import Event
from starlette_webhooks.named_sql import substitute
from starlette_webhooks.stores.sqlite.insertion import Insertion
from starlette_webhooks.stores.sqlite.joint import Joint
from starlette_webhooks.stores.sqlite.queries import in_one_row, load_queries

__all__ = ["Recorded", "Recording"]

_QUERIES = load_queries("recording.sql")
_HOUR = 3_600_000
_ROWS = 128


@dataclass(frozen=True, slots=True)
class Recorded:
    """What else a `Recording` did: it stored events, and may have disabled the endpoint."""

    disabled: DisabledEndpoint | None


class Recording(Joint["Recorded | None"]):
    """Records an attempt. Returns None if that was all. See `DeliveryStore.record`.

    Args:
        operator: The tenant that gets operational events. None for none.
    """

    __slots__ = ("disable_after", "operator", "outcome")

    def __init__(self, outcome: Outcome, *, disable_after: int, operator: str | None = None) -> None:
        self.outcome = outcome
        self.disable_after = disable_after
        self.operator = operator

    def __call__(self, connection: sqlite3.Connection) -> Recorded | None:
        outcome = self.outcome
        delivery = outcome.delivery
        row = connection.execute(_QUERIES["endpoint_state"], (delivery.endpoint,)).fetchone()
        if row is None:
            return None
        before = EndpointState(*row)
        after = next_state(outcome, before, disable_after=self.disable_after)
        disabled = after.disabled_reason is not None and before.disabled_reason is None
        held = _settle(connection, outcome)
        # Before this attempt is logged: earlier ones tell whether the delivery has recovered.
        notices = self._notices(connection, before, after, held=held)
        if after != before:
            state = (after.failing_since, after.disabled_reason, after.paused_at, after.paused_until, after.warned_at)
            connection.execute(_QUERIES["set_endpoint_state"], (*state, delivery.endpoint))
        _prove(connection, [outcome])
        _log(connection, outcome, outcome.next_due if held and not disabled else None)
        if disabled:
            _disable(connection, outcome)
        if notices:
            Insertion(notices)(connection)
        reason = str(after.disabled_reason)
        endpoint = DisabledEndpoint(delivery.endpoint_id, delivery.tenant, delivery.url, reason) if disabled else None
        return Recorded(endpoint) if disabled or notices else None

    def _notices(
        self, connection: sqlite3.Connection, before: EndpointState, after: EndpointState, *, held: bool
    ) -> list[Event]:
        outcome, operator = self.outcome, self.operator
        notices = endpoint_notices(outcome, before, after, operator=operator, disable_after=self.disable_after)
        if held:
            recovered = may_have_recovered(outcome, operator=operator) and _has_recovered(connection, outcome)
            notice = message_notice(outcome, operator=operator, recovered=recovered)
            if notice is not None:
                notices.append(notice)
        return notices

    @classmethod
    def run_together(cls, connection: sqlite3.Connection, operations: Sequence[Self]) -> list[Recorded | None]:
        """See `Joint`. A few statements record all successes of working endpoints."""
        # An attempt that ends the trouble of a delivery is recorded with the event about it.
        outcomes = [one.outcome for one in operations if not may_have_recovered(one.outcome, operator=one.operator)]
        working = _working(connection, outcomes)
        together = {id(one) for one in outcomes if one.delivery.endpoint in working and not one.headers}
        if together:
            _record_successes(connection, [one for one in outcomes if id(one) in together])
        return [None if id(recording.outcome) in together else recording(connection) for recording in operations]


def _settle(connection: sqlite3.Connection, outcome: Outcome) -> bool:
    """Remove or reschedule the delivery. Returns False if its lease is no longer held."""
    delivery = outcome.delivery
    values = {"id": delivery.id, "number": delivery.number, "next_due": outcome.next_due, "now": outcome.ended}
    statement = "finish" if is_finished(outcome) else "reschedule"
    return connection.execute(_QUERIES[statement], values).rowcount == 1


def _prove(connection: sqlite3.Connection, outcomes: Sequence[Outcome]) -> None:
    servers = {one.delivery.endpoint: server for one in outcomes if (server := proven_server(one)) is not None}
    for endpoint, server in servers.items():
        connection.execute(_QUERIES["prove"], (server, endpoint))


def _disable(connection: sqlite3.Connection, outcome: Outcome) -> None:
    delivery = outcome.delivery
    connection.execute(_QUERIES["touch"], (outcome.ended, delivery.endpoint))
    connection.execute(_QUERIES["unsubscribe"], (delivery.endpoint,))


def _has_recovered(connection: sqlite3.Connection, outcome: Outcome) -> bool:
    delivery = outcome.delivery
    values = {"event": delivery.event, "endpoint": delivery.endpoint, "failing": FAILING_ATTEMPTS}
    ((recovered,),) = connection.execute(_QUERIES["has_recovered"], values)
    return bool(recovered)


def _log(connection: sqlite3.Connection, outcome: Outcome, next_due: int | None) -> None:
    delivery = outcome.delivery
    values = {
        "attempt_id": outcome.attempt_id,
        "event": delivery.event,
        "endpoint": delivery.endpoint,
        "ok": outcome.ok,
        "number": delivery.number,
        "started": outcome.started,
        "status_code": outcome.status_code,
        "duration_ms": outcome.duration_ms,
        "url": delivery.url,
        "response": outcome.response,
        "error": outcome.error,
        "trigger": delivery.trigger,
        "next_due": next_due,
        "headers": outcome.headers or None,
        "hour": outcome.started - outcome.started % _HOUR,
    }
    connection.execute(_QUERIES["insert_attempt"], values)
    connection.execute(_QUERIES["count_attempt"], values)


def _working(connection: sqlite3.Connection, outcomes: Sequence[Outcome]) -> set[int]:
    """Return endpoints that failed neither before nor now. If one attempt fails, the order of all attempts matters."""
    endpoints = {outcome.delivery.endpoint for outcome in outcomes if outcome.ok}
    endpoints -= {outcome.delivery.endpoint for outcome in outcomes if not outcome.ok}
    if not endpoints:
        return set()
    return set(in_one_row(connection, _QUERIES["works_well"], (json.dumps(list(endpoints)),)))


def _record_successes(connection: sqlite3.Connection, outcomes: Sequence[Outcome]) -> None:
    held = [(one.delivery.id, one.delivery.number) for one in outcomes]
    connection.execute(_QUERIES["finish_all"], (json.dumps(held),))
    for part in _parts(outcomes):
        values = [value for outcome in part for value in _row(outcome)]
        connection.execute(_insert_statement(len(part)), values)
    hours = Counter((one.delivery.endpoint, one.started - one.started % _HOUR) for one in outcomes)
    counts = json.dumps([(*key, count) for key, count in hours.items()])
    connection.execute(_QUERIES["count_successes"], (counts,))
    _prove(connection, outcomes)


def _parts(outcomes: Sequence[Outcome]) -> Iterator[Sequence[Outcome]]:
    """Split into parts of 128, 64, 32 and so on, so that few statements are prepared."""
    start, size = 0, _ROWS
    while start < len(outcomes):
        while size > len(outcomes) - start:
            size //= 2
        yield outcomes[start : start + size]
        start += size


def _row(outcome: Outcome) -> Sequence[Any]:
    delivery = outcome.delivery
    return (
        delivery.event,
        outcome.attempt_id,
        delivery.endpoint,
        delivery.number,
        outcome.started,
        outcome.status_code,
        outcome.duration_ms,
        delivery.url,
        outcome.response,
        delivery.trigger,
    )


@cache
def _insert_statement(rows: int) -> str:
    return substitute(_QUERIES["insert_successes"], rows=", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows))
