"""Deliveries in PostgreSQL: finding what is due, and leasing it.

A delivery is leased by `leased_until`, so that one of a crashed process becomes due again by itself. Only the holder of
the lease (`attempt` and `leased_until` are as it left them) may remove or reschedule the delivery.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette_webhooks.delivery.claims import Candidate, ClaimPlan, plan_claim
from starlette_webhooks.delivery.deliveries import Claim, DueEndpoint, DuePage, LeasedDelivery
from starlette_webhooks.delivery.slots import Capacity, SlotRequest
from starlette_webhooks.stores.postgresql.connection import Row
from starlette_webhooks.stores.postgresql.database import Database

__all__ = ["claim", "due"]

_FILE = "deliveries.sql"
_DUE_ENDPOINTS = 1000


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the deliveries of an endpoint go."""

    id: str
    tenant: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


async def due(database: Database, *, after: int, due_by: int, now: int, endpoints: int = _DUE_ENDPOINTS) -> DuePage:
    """Look at the endpoints numbered above `after` that have deliveries, `endpoints` at a time. See `DeliveryStore`."""
    rows = await database.call(database.queries(_FILE)["due"], (after, endpoints, now))
    found = [DueEndpoint(number, first, failing) for number, first, failing in rows if first is not None]
    return DuePage([one for one in found if one.due <= due_by], rows[-1][0])


async def claim(
    database: Database,
    *,
    requests: Sequence[SlotRequest],
    capacity: Capacity,
    tenants: Mapping[str, int],
    now: int,
    lease: int,
) -> Claim:
    """Lease deliveries that are due. See `DeliveryStore`.

    What is planned upon may have changed before it is leased. That does no harm: the server leases what it then finds,
    and of an endpoint with a rate limit only if nobody else has meanwhile.
    """
    queries = database.queries(_FILE)
    numbers = [request.endpoint for request in requests]
    candidates = []
    targets = {}
    for row in await database.call(queries["candidates"], (numbers, now)):
        number, identifier, tenant, url, headers, rate, paced_until, failing, first, keys = row
        candidates.append(Candidate(number, tenant, rate, paced_until, failing, first))
        targets[number] = _Target(identifier, tenant, url, json.loads(headers), tuple(keys.split(" ")))
    plan = plan_claim(requests, candidates, capacity, tenants, now=now)
    rows = await database.call(queries["lease"], _lease_values(plan, lease)) if plan.slots else []
    leased = _leased(rows, targets, lease)
    counts = {number: len(deliveries) for number, deliveries in leased.items()}
    gone = [row[0] for row in rows if row[1] is None]
    if gone:
        await database.call(queries["drop"], (gone, lease))
    return plan.claim([one for number in plan.candidates for one in leased.get(number, ())], counts)


def _lease_values(plan: ClaimPlan, lease: int) -> tuple[Any, ...]:
    paces: list[float | None] = []
    starts: list[float] = []
    intervals: list[float] = []
    for number in plan.slots:
        candidate = plan.candidates[number]
        limited = candidate.rate_limit is not None
        paces.append(candidate.paced_until if limited else None)
        interval = 1000 / candidate.rate_limit if candidate.rate_limit else 0.0
        intervals.append(interval)
        starts.append(plan.paces({number: 1})[number] - interval if limited else 0.0)
    return (list(plan.slots), list(plan.slots.values()), paces, starts, intervals, plan.now, lease)


def _leased(rows: Sequence[Row], targets: Mapping[int, _Target], lease: int) -> dict[int, list[LeasedDelivery]]:
    leased: dict[int, list[LeasedDelivery]] = {}
    for seq, event_id, event_type, payload, leases in sorted(rows):
        if event_id is None:
            continue
        for one in leases.split(","):
            number, attempt, step, trigger = one.split(":")
            target = targets[int(number)]
            delivery = LeasedDelivery(
                # Rows are named by event and endpoint together; this is both in one number.
                id=seq << 64 | int(number),
                event=seq,
                endpoint=int(number),
                number=int(attempt),
                step=int(step),
                trigger=trigger,
                lease=lease,
                event_id=event_id,
                event_type=event_type,
                payload=payload,
                tenant=target.tenant,
                endpoint_id=target.id,
                url=target.url,
                headers=target.headers,
                secrets=target.secrets,
            )
            leased.setdefault(int(number), []).append(delivery)
    return leased
