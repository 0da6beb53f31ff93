"""Records attempts together: one call of the server for all waiting outcomes, or two if some of them failed.

`delivery.records` decides what changes, from the state of the endpoints. The server applies it only if that state is
unchanged. Runs on its own thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette_webhooks.delivery.deliveries import DisabledEndpoint, Outcome
from starlette_webhooks.delivery.notices import FAILING_ATTEMPTS, endpoint_notices, may_have_recovered, message_notice
from starlette_webhooks.delivery.records import EndpointState, is_finished, next_state, proven_server
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendRefused, BackendUnavailable
from starlette_webhooks.stores.postgresql.connection import CallFailed, CallLost, Link
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.postgresql.telling import notice
from starlette_webhooks.stores.writes import Batch, Write

__all__ = ["Recorded", "Recorder", "Recording"]

_ATTEMPTS = 500
_PAUSE = 0.1
_TURNS = 20
# A deadlock or a conflict with another transaction. The call had no effect and may succeed again.
_AGAIN = ("40", "55P03")


@dataclass(frozen=True, slots=True)
class Recording:
    """An outcome to record. See `DeliveryStore.record`.

    Attributes:
        operator: The tenant that gets operational events. None for none.
    """

    outcome: Outcome
    disable_after: int
    operator: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What else a recording did: it stored events, and may have disabled the endpoint."""

    disabled: DisabledEndpoint | None = None


@dataclass(slots=True)
class _Decision:
    """The state of an endpoint after its outcomes, in order, and the events that its changes make."""

    before: EndpointState
    after: EndpointState
    disabled_by: Outcome | None = None
    notices: list[Event] = field(default_factory=list)


class Recorder:
    """Commits batches of `Recording` on its own connection. The results are None, or a `Recorded`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._link = Link(database.info)
        queries = database.queries("deliveries.sql")
        self._record, self._states = queries["record"], queries["endpoint_states"]
        self._prove, self._recovered = queries["prove"], queries["recovered"]
        self._keep_headers = queries["keep_headers"]

    def commit(self, batch: Batch) -> None:
        """Record a batch, and store results and errors in its writes."""
        writes = batch.writes
        for start in range(0, len(writes), _ATTEMPTS):
            part = writes[start : start + _ATTEMPTS]
            deadline = time.monotonic() + self._database.deadline
            try:
                with self._database.guarding(self._link, self._record):
                    self._write(part, deadline)
            except CallFailed as exc:
                if len(part) > 1 and exc.at_fault:
                    for write in part:
                        self._write_alone(write)
                else:
                    _fail(part, exc)
            except Exception as exc:
                _fail(part, exc)

    def _write_alone(self, write: Write[Any]) -> None:
        try:
            self._write([write], time.monotonic() + self._database.deadline)
        except Exception as exc:
            _fail([write], exc)

    def _write(self, writes: Sequence[Write[Any]], deadline: float) -> None:
        waiting = list(writes)
        for _ in range(_TURNS):
            recordings = [write.operation for write in waiting]
            decisions = self._decide(recordings, deadline)
            notices = self._notices(recordings, decisions, deadline)
            try:
                stale = self._call([one.outcome for one in recordings], decisions, notices, deadline)
            except CallLost:
                # It may have been recorded. The next call finds out by the ids of the attempts.
                if time.monotonic() + _PAUSE > deadline:
                    raise
                time.sleep(_PAUSE)
                continue
            except CallFailed as exc:
                if not exc.sqlstate.startswith(_AGAIN) or time.monotonic() > deadline:
                    raise
                continue
            _report(waiting, decisions, any_events=bool(notices))
            waiting = [write for write in waiting if write.operation.outcome.delivery.endpoint in stale]
            if not waiting:
                return
        raise BackendUnavailable("The state of an endpoint kept changing while an attempt was recorded.")

    def _decide(self, recordings: Sequence[Recording], deadline: float) -> dict[int, _Decision]:
        """Decide about the endpoints that failed in or before this batch."""
        failed = {one.outcome.delivery.endpoint for one in recordings if not one.outcome.ok}
        if not failed:
            return {}
        rows = self._link.call(self._states, (list(failed),), deadline=deadline)
        decisions = {}
        for number, *columns in rows:
            before = EndpointState(*columns)
            decisions[number] = _Decision(before, before)
        for one in recordings:
            decision = decisions.get(one.outcome.delivery.endpoint)
            if decision is not None:
                state = decision.after
                decision.after = next_state(one.outcome, state, disable_after=one.disable_after)
                decision.notices += endpoint_notices(
                    one.outcome,
                    state,
                    decision.after,
                    operator=one.operator,
                    disable_after=one.disable_after,
                    milliseconds=self._now(),
                )
                if state.disabled_reason is None and decision.after.disabled_reason is not None:
                    decision.disabled_by = one.outcome
        return decisions

    def _now(self) -> int:
        return int(self._database.clock() * 1000)

    def _notices(
        self, recordings: Sequence[Recording], decisions: dict[int, _Decision], deadline: float
    ) -> list[dict[str, Any]]:
        """Return the events to store. Those with an attempt are stored if the attempt still held its lease."""
        found = [
            {**notice(event), "endpoint": number}
            for number, decision in decisions.items()
            for event in decision.notices
        ]
        if all(one.operator is None for one in recordings):
            return found
        recovered = self._find_recovered(recordings, deadline)
        for one in recordings:
            outcome = one.outcome
            event = message_notice(
                outcome,
                operator=one.operator,
                recovered=outcome.attempt_id in recovered,
                milliseconds=self._now(),
            )
            if event is not None:
                found.append({**notice(event), "endpoint": outcome.delivery.endpoint, "attempt": outcome.attempt_id})
        return found

    def _find_recovered(self, recordings: Sequence[Recording], deadline: float) -> set[str]:
        asked = [one.outcome for one in recordings if may_have_recovered(one.outcome, operator=one.operator)]
        if not asked:
            return set()
        values = {
            "attempts": [one.attempt_id for one in asked],
            "events": [one.delivery.event for one in asked],
            "endpoints": [one.delivery.endpoint for one in asked],
            "failing": FAILING_ATTEMPTS,
        }
        return {row[0] for row in self._link.call(self._recovered, values, deadline=deadline)}

    def _call(
        self,
        outcomes: Sequence[Outcome],
        decisions: dict[int, _Decision],
        notices: Sequence[dict[str, Any]],
        deadline: float,
    ) -> set[int]:
        attempts = [_attempt(outcome, decisions) for outcome in outcomes]
        states = [_state(number, decision) for number, decision in decisions.items()]
        working = {outcome.delivery.endpoint for outcome in outcomes if outcome.ok} - decisions.keys()
        values = (_json(attempts), _json(states), list(working), _json(notices), self._now())
        ((stale,),) = self._link.call(self._record, values, deadline=deadline)
        servers = {one.delivery.endpoint: server for one in outcomes if (server := proven_server(one)) is not None}
        if servers:
            self._link.call(self._prove, (list(servers), list(servers.values())), deadline=deadline)
        shown = [one for one in outcomes if one.headers]
        if shown:
            columns = [(one.attempt_id, one.delivery.endpoint, one.ok, one.headers) for one in shown]
            self._link.call(self._keep_headers, tuple(map(list, zip(*columns, strict=True))), deadline=deadline)
        return set(stale or ())

    def close(self) -> None:
        """Close the connection."""
        self._link.close()


def _json(rows: Iterable[Any]) -> str:
    return json.dumps(list(rows), ensure_ascii=False, separators=(",", ":"))


def _attempt(outcome: Outcome, decisions: dict[int, _Decision]) -> dict[str, Any]:
    delivery = outcome.delivery
    decision = decisions.get(delivery.endpoint)
    return {
        "id": outcome.attempt_id,
        "event": delivery.event,
        "endpoint": delivery.endpoint,
        "ok": outcome.ok,
        "number": delivery.number,
        "ended": outcome.ended,
        "started": outcome.started,
        "status": outcome.status_code,
        "ms": outcome.duration_ms,
        "url": delivery.url,
        "response": outcome.response,
        "error": outcome.error,
        "trigger": delivery.trigger,
        "due": None if is_finished(outcome) else outcome.next_due,
        "last": decision is not None and decision.disabled_by is outcome,
    }


def _state(number: int, decision: _Decision) -> list[Any]:
    before, after = decision.before, decision.after
    return [
        number,
        before.failing_since,
        before.disabled_reason,
        after.failing_since,
        after.disabled_reason,
        *((after.paused_at, after.paused_until) if after.paused_until != before.paused_until else (None, None)),
        after.warned_at,
        before.warned_at,
    ]


def _disabled(decision: _Decision) -> DisabledEndpoint:
    assert decision.disabled_by is not None
    delivery = decision.disabled_by.delivery
    reason = str(decision.after.disabled_reason)
    return DisabledEndpoint(delivery.endpoint_id, delivery.tenant, delivery.url, reason)


def _report(writes: Sequence[Write[Any]], decisions: dict[int, _Decision], *, any_events: bool) -> None:
    for write in writes:
        decision = decisions.get(write.operation.outcome.delivery.endpoint)
        if decision is not None and decision.disabled_by is write.operation.outcome:
            write.result = Recorded(_disabled(decision))
        elif any_events:
            write.result = Recorded()


def _fail(writes: Sequence[Write[Any]], error: Exception) -> None:
    if isinstance(error, CallFailed) and error.at_fault:
        # The data is at fault, so that another try would fail again.
        refused = BackendRefused(f"The database refused what was written: {error}")
        refused.__cause__ = error
        error = refused
    for write in writes:
        write.error = error
