"""Lists undelivered deliveries, for all stores. A store reads rows, and this module decides what they mean."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette_webhooks.pagination import Page, invalid_cursor
from starlette_webhooks.stores.limits import LOOKED_AT
from starlette_webhooks.stores.moments import from_ms, to_ms
from starlette_webhooks.undelivered import STATES, Undelivered, UndeliveredQuery, UndeliveredState

__all__ = ["FIRST", "NEVER", "Candidate", "Place", "Target", "UndeliveredRows", "find_undelivered", "to_candidate"]

NEVER = 9_007_199_254_740_991
"""When a delivery is due that was set aside. See `DeliveryStore.set_aside`."""

_BATCH = 500
_TARGETS = 100
_CURSOR = re.compile(r"(ep_[0-9A-Za-z]{1,64})\.(exhausted|failing|waiting)\.(msg_[0-9A-Za-z]{27})", re.ASCII)

Place = tuple[int, int]
"""Where a list continues within a state of an endpoint: when the delivery is due if it is sorted by this, otherwise 0,
and the number of the event. Both descend."""

FIRST: Place = (2**63 - 1, 2**63 - 1)


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint that may have undelivered deliveries. `id` is None if it has just been deleted.

    Some databases have no booleans, so that `disabled` may be a number.
    """

    number: int
    id: str | None
    tenant: str
    url: str = field(repr=False)
    disabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An event and an endpoint: its pending delivery if there is one, and its last attempt if there is one.

    Attributes:
        event_id: None if the event has just been removed.
        due: When the pending delivery is due. None without one.
        step: See `LeasedDelivery`.
        leased: Whether an attempt is running.
        number: The number of the last attempt, or 0.
        delivered: Whether any attempt succeeded.
    """

    place: Place
    event_id: str | None
    event_type: str
    timestamp: int
    test: bool
    due: int | None
    step: int | None
    leased: bool
    number: int
    attempted_at: int | None
    status_code: int
    error: str
    delivered: bool

    @property
    def state(self) -> UndeliveredState:
        """The state of the delivery."""
        if self.due is None or self.due >= NEVER:
            return "exhausted"
        return "failing" if self.step else "waiting"


def to_candidate(row: Sequence[Any]) -> Candidate:
    """Return a candidate from the columns that `undelivered.sql` selects."""
    seq, place, event_id, event_type, timestamp, test, due, step, leased, *attempt, delivered = row
    number, attempted_at, status_code, error = attempt
    return Candidate(
        place=(place, seq),
        event_id=event_id,
        event_type=event_type or "",
        timestamp=timestamp or 0,
        test=bool(test),
        due=due,
        step=step,
        leased=bool(leased),
        number=number or 0,
        attempted_at=attempted_at,
        status_code=status_code or 0,
        error=error or "",
        delivered=bool(delivered),
    )


class UndeliveredRows(Protocol):
    """What a store reads."""

    async def targets(self, query: UndeliveredQuery, number: int, limit: int) -> Sequence[Target]:
        """Return endpoints of the query that may have undelivered deliveries, in order of numbers from this one."""

    async def candidates(self, endpoint: int, state: UndeliveredState, after: Place, limit: int) -> Sequence[Candidate]:
        """Return what an endpoint may have in this state, after this place. Fewer than `limit` only at the end."""

    async def locate(self, endpoint_id: str, event_id: str) -> tuple[int, int | None, int | None] | None:
        """Return the number of an endpoint, that of an event of its tenant, and when their delivery is due.

        The last two are None if there is no such event or no delivery. Returns None if there is no such endpoint.
        """


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a page starts."""

    number: int = 0
    rank: int = 0
    place: Place = FIRST


async def find_undelivered(
    rows: UndeliveredRows, query: UndeliveredQuery, *, looked_at: int = LOOKED_AT
) -> Page[Undelivered]:
    """Return a page.

    Args:
        looked_at: How many candidates the page looks at, at most.

    Raises:
        InvalidRequest: The cursor is not valid.
    """
    position = await _start(rows, query.cursor)
    items: list[Undelivered] = []
    cursor: str | None = None
    looked = 0
    async with aclosing(_scan(rows, query, position)) as scan:
        async for at, found in scan:
            if len(items) == query.limit or looked == looked_at:
                return Page(items, cursor, False)
            if found is not None:
                items.append(found)
            # Removed rows have no id to continue at, and their neighbours do.
            cursor, looked = at or cursor, looked + 1
    return Page(items, None, True)


async def _start(rows: UndeliveredRows, cursor: str | None) -> _Position:
    if cursor is None:
        return _Position()
    parts = _CURSOR.fullmatch(cursor)
    if parts is None:
        raise invalid_cursor()
    endpoint_id, state, event_id = parts.groups()
    found = await rows.locate(endpoint_id, event_id)
    if found is None:
        # The endpoint was deleted meanwhile. Repeating deliveries is better than leaving some out.
        return _Position()
    number, event, due = found
    rank = next(rank for rank, one in enumerate(STATES) if one == state)
    if event is None or (state == "waiting" and due is None):
        # It was removed or delivered meanwhile.
        return _Position(number, rank)
    return _Position(number, rank, (due or 0, event))


async def _scan(
    rows: UndeliveredRows, query: UndeliveredQuery, start: _Position
) -> AsyncGenerator[tuple[str | None, Undelivered | None]]:
    """Look at candidates: the cursor after each one, and the delivery if it matches the query."""
    number = start.number
    batch = _BATCH if _is_filtered(query) else min(_BATCH, query.limit + 1)
    while True:
        targets = await rows.targets(query, number, _TARGETS)
        for target in targets:
            for rank, state in enumerate(STATES):
                begun = target.number == start.number
                if target.id is None or (begun and rank < start.rank) or (query.states and state not in query.states):
                    continue
                place: Place | None = start.place if begun and rank == start.rank else FIRST
                while place is not None:
                    found = await rows.candidates(target.number, state, place, batch)
                    for candidate in found:
                        at = None if candidate.event_id is None else f"{target.id}.{state}.{candidate.event_id}"
                        yield at, _match(query, target, state, candidate)
                    place = found[-1].place if len(found) == batch else None
        if len(targets) < _TARGETS:
            return
        number = targets[-1].number + 1  # pragma: no cover  Needs as many endpoints.


def _is_filtered(query: UndeliveredQuery) -> bool:
    return bool(query.event_types) or any(
        value is not None for value in (query.status_code_class, query.before, query.after, query.attempted_before)
    )


def _match(
    query: UndeliveredQuery, target: Target, state: UndeliveredState, candidate: Candidate
) -> Undelivered | None:
    if candidate.event_id is None or candidate.test or candidate.delivered:
        return None
    # A delivery that was set aside is exhausted, but listed among the failing ones.
    listed: UndeliveredState = "exhausted" if candidate.due is None else "failing" if candidate.step else "waiting"
    if state != listed or not _passes(query, candidate):
        return None
    due = candidate.due
    assert target.id is not None
    return Undelivered(
        event_id=candidate.event_id,
        event_type=candidate.event_type,
        tenant=target.tenant,
        timestamp=from_ms(candidate.timestamp),
        endpoint_id=target.id,
        endpoint_disabled=bool(target.disabled),
        url=target.url,
        state=candidate.state,
        attempts=candidate.number,
        last_attempt_at=None if candidate.attempted_at is None else from_ms(candidate.attempted_at),
        status_code=candidate.status_code,
        error=candidate.error,
        next_attempt_at=None if due is None or due >= NEVER or candidate.leased or target.disabled else from_ms(due),
        numbers=(candidate.place[1], target.number),
    )


def _passes(query: UndeliveredQuery, candidate: Candidate) -> bool:
    if query.event_types and candidate.event_type not in query.event_types:
        return False
    if query.before is not None and candidate.timestamp >= to_ms(query.before):
        return False
    if query.after is not None and candidate.timestamp < to_ms(query.after):
        return False
    if candidate.attempted_at is None:
        return query.status_code_class is None
    if query.attempted_before is not None and candidate.attempted_at >= to_ms(query.attempted_before):
        return False
    return query.status_code_class is None or candidate.status_code // 100 == query.status_code_class
