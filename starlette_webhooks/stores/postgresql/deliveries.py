"""Finds and leases due deliveries in PostgreSQL.

A lease is stored in `leased_until`, so that a delivery of a crashed process becomes due again automatically. Only the
holder of the lease may remove or reschedule the delivery: `attempt` is then unchanged, and `leased_until` is not 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyio import current_time

from starlette_webhooks.delivery.claims import (
    Candidate,
    ClaimPlan,
    ClaimRequest,
    Holds,
    due_page,
    grants_all,
    plan_claim,
)
from starlette_webhooks.delivery.deliveries import Claim, DuePage, LeasedDelivery
from starlette_webhooks.delivery.pacing import UNPROVEN, Pace
from starlette_webhooks.stores.limits import DUE_ENDPOINTS, STAMPED_AHEAD
from starlette_webhooks.stores.postgresql.connection import Row
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.postgresql.floors import Floors
from starlette_webhooks.stores.postgresql.polling import Polling
from starlette_webhooks.stores.targets import Target

__all__ = ["claim", "due", "fix_times", "release", "set_aside"]

_FILE = "deliveries.sql"
_FIXED_AT_ONCE = 1000
# The number of columns of a candidate.
_CANDIDATE = 13


async def due(
    database: Database,
    floors: Floors,
    polling: Polling,
    *,
    after: int,
    due_by: int,
    now: int,
    unproven: Pace | None = UNPROVEN,
    endpoints: int = DUE_ENDPOINTS,
) -> DuePage:
    """Look at the endpoints numbered above `after` that have deliveries, `endpoints` at a time. See `DeliveryStore`."""
    began = current_time()
    values = (now, now, DUE_ENDPOINTS, *polling.horizon.start.values, after, endpoints, now)
    rows = await database.call(database.queries(_FILE)["due"], values)
    for number, first, *_ in rows:
        if first is not None:
            floors.scanned(number, first)
    # What is the same in each row is behind its own values.
    *_, urgent, handovers, outbox = rows[0]
    polling.saw(handovers, outbox)
    polling.scanned(current_time() - began)
    return due_page([row[:-3] for row in rows], due_by=due_by, now=now, urgent=urgent, unproven=unproven)


async def claim(database: Database, floors: Floors, request: ClaimRequest) -> Claim:
    """Lease due deliveries. See `DeliveryStore`.

    The state may change between planning and leasing. This is harmless: the server leases what it then finds, and
    leases from an endpoint with a pace only if no other process has done so meanwhile.
    """
    queries = database.queries(_FILE)
    found = await _find(database, floors, request)
    candidates = []
    targets = {}
    for row in found.candidates:
        number, identifier, tenant, url, headers, failing, first, keys, *holds = row
        if not request.urgent:
            floors.claimed(number, first, request.now)
        candidate = Candidate(number, tenant, first, failing, Holds.of(url, *holds, unproven=request.unproven))
        candidates.append(candidate)
        secrets = tuple(keys.split(" "))
        targets[number] = Target(identifier, tenant, url, json.loads(headers), secrets, candidate.holds.proven)
    plan = plan_claim(request, candidates)
    slots = {number: count for number, count in plan.slots.items() if number not in found.free}
    rows = found.leased
    if slots and plan.urgent:
        values = (list(slots), list(slots.values()), plan.now, request.lease)
        rows += await database.call(queries["lease_urgent"], values)
    elif slots:
        rows += await database.call(queries["lease"], _lease_values(plan, slots, floors, request.lease))
    leased = _leased(rows, targets, request.lease)
    counts = {number: len(deliveries) for number, deliveries in leased.items()}
    gone = [row[0] for row in rows if row[1] is None]
    if gone:  # pragma: no cover  The event must be removed between two statements.
        await database.call(queries["drop"], (gone, request.lease))
    return plan.claim([one for number in plan.candidates for one in leased.get(number, ())], counts)


@dataclass(slots=True)
class _Found:
    """The candidates of a claim, and what has been leased from those that are free."""

    candidates: list[Row]
    free: set[int] = field(default_factory=set)
    leased: list[Row] = field(default_factory=list)


async def _find(database: Database, floors: Floors, request: ClaimRequest) -> _Found:
    queries = database.queries(_FILE)
    numbers = [one.endpoint for one in request.requests]
    if request.urgent or not grants_all(request):
        values = (numbers, floors.of(numbers), request.now, request.urgent)
        return _Found(await database.call(queries["candidates"], values))
    slots = [one.slots for one in request.requests]
    given = {"endpoints": numbers, "floors": floors.of(numbers), "slots": slots}
    found = _Found([])
    for row in await database.call(queries["claim"], given | {"now": request.now, "lease": request.lease}):
        candidate, is_free, leased = row[:_CANDIDATE], row[_CANDIDATE], row[_CANDIDATE + 1 :]
        if is_free is None:
            found.leased.append(leased)
            continue
        found.candidates.append(candidate)
        if is_free:
            found.free.add(candidate[0])
    return found


def _lease_values(plan: ClaimPlan, slots: Mapping[int, int], floors: Floors, lease: int) -> tuple[Any, ...]:
    paces: list[float | None] = []
    starts: list[float] = []
    intervals: list[float] = []
    for number in slots:
        holds = plan.candidates[number].holds
        pace = plan.pace(number)
        paces.append(None if pace is None else holds.paced_until)
        intervals.append(0.0 if pace is None else pace.interval)
        starts.append(0.0 if pace is None else pace.start(holds.paced(plan.now), plan.now))
    numbers = list(slots)
    return (numbers, floors.of(numbers), list(slots.values()), paces, starts, intervals, plan.now, lease)


def _leased(rows: Sequence[Row], targets: Mapping[int, Target], lease: int) -> dict[int, list[LeasedDelivery]]:
    leased: dict[int, list[LeasedDelivery]] = {}
    for seq, event_id, event_type, payload, leases, trace in sorted(rows):
        if event_id is None:  # pragma: no cover  The event must be removed between two statements.
            continue
        for one in leases.split(","):
            number, attempt, step, trigger = one.split(":")
            endpoint = int(number)
            delivery = targets[endpoint].delivery(
                (seq, event_id, event_type, payload, trace),
                # Event and endpoint together identify a row. This combines both in one number.
                id=seq << 64 | endpoint,
                endpoint=endpoint,
                number=int(attempt),
                step=int(step),
                trigger=trigger,
                lease=lease,
            )
            leased.setdefault(endpoint, []).append(delivery)
    return leased


async def release(database: Database, leased: Sequence[LeasedDelivery], *, due: int, now: int) -> None:
    """Release leases. See `DeliveryStore`."""
    tokens = ([one.event for one in leased], [one.endpoint for one in leased], [one.number for one in leased])
    await database.call(database.queries(_FILE)["release"], (due, now, *tokens))


async def set_aside(database: Database, delivery: LeasedDelivery) -> None:
    """Make no further automatic attempts. See `DeliveryStore`."""
    token = (delivery.event, delivery.endpoint, delivery.number)
    await database.call(database.queries(_FILE)["set_aside"], token)


async def fix_times(database: Database, now: int, batch: int = _FIXED_AT_ONCE) -> int:
    """Move times that were stored while the clock was ahead. See `DeliveryStore`."""
    total = 0
    values = {"now": now, "later": now + STAMPED_AHEAD, "batch": batch}
    while True:
        ((moved,),) = await database.call(database.queries(_FILE)["fix_times"], values)
        total += int(moved)
        if moved < batch:
            return total
