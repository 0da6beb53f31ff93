"""Finds and leases due deliveries in SQLite.

A lease moves `due` to the end of the lease, so that a delivery of a crashed process becomes due again automatically.
Only the holder of the lease may move or remove the delivery: `attempt` is then unchanged, and `leased` is set.
The functions take a connection and run on the database's threads. Times are in milliseconds since the epoch.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette_webhooks.delivery.claims import Candidate, ClaimPlan, ClaimRequest, Holds, due_page, plan_claim
from starlette_webhooks.delivery.deliveries import Claim, DuePage, LeasedDelivery
from starlette_webhooks.delivery.pacing import UNPROVEN, Pace
from starlette_webhooks.stores.limits import DUE_ENDPOINTS, STAMPED_AHEAD
from starlette_webhooks.stores.sqlite.queries import in_one_row, load_queries
from starlette_webhooks.stores.targets import Target

__all__ = ["News", "claim", "due", "fix_times", "news", "orphans", "release", "set_aside"]

_QUERIES = load_queries("deliveries.sql")
_FIXED_AT_ONCE = 1000
# Events have at most 16 MiB, the largest value of `max_event_bytes`. SQLite's strings end at a billion bytes.
_EVENTS_AT_ONCE = 32


def due(
    connection: sqlite3.Connection,
    *,
    after: int = 0,
    due_by: int,
    now: int,
    unproven: Pace | None = UNPROVEN,
    endpoints: int = DUE_ENDPOINTS,
) -> DuePage:
    """Look at the endpoints numbered above `after` that have deliveries, `endpoints` at a time. See `DeliveryStore`."""
    rows = connection.execute(_QUERIES["due"], {"after": after, "endpoints": endpoints}).fetchall()
    return due_page(rows, due_by=due_by, now=now, urgent=_urgent(connection, now), unproven=unproven)


def _urgent(connection: sqlite3.Connection, now: int) -> list[int]:
    """Enabled endpoints with urgent deliveries that are due."""
    rows = connection.execute(_QUERIES["urgent"], {"due_by": now, "endpoints": DUE_ENDPOINTS})
    return [no for (no,) in rows]


def claim(connection: sqlite3.Connection, *, request: ClaimRequest) -> Claim:
    """Lease due deliveries. See `DeliveryStore`."""
    numbers = json.dumps([one.endpoint for one in request.requests])
    statement = _QUERIES["urgent_candidates" if request.urgent else "candidates"]
    candidates = []
    targets = {}
    for no, identifier, tenant, url, headers, failing, first, *holds in in_one_row(connection, statement, (numbers,)):
        if first is not None:
            known = Holds.of(url, *holds, unproven=request.unproven)
            candidates.append(Candidate(no, tenant, first, bool(failing), known))
            targets[no] = (identifier, tenant, url, headers)
    plan = plan_claim(request, candidates)
    leased = _lease(connection, plan, request.lease)
    counts = {no: len(rows) for no, rows in leased.items()}
    for no, until in plan.paces(counts).items():
        connection.execute(_QUERIES["pace"], (until, no))
    rows = [row for no in plan.candidates for row in leased.get(no, ())]
    return plan.claim(_deliveries(connection, rows, plan, targets, request) if rows else (), counts)


def _lease(connection: sqlite3.Connection, plan: ClaimPlan, lease: int) -> dict[int, list[Sequence[Any]]]:
    """Lease the planned number of deliveries per endpoint, or as many as are due. Returns their rows by endpoint."""
    if not plan.slots:
        return {}
    leased: dict[int, list[Sequence[Any]]] = {}
    one_by_one = plan.slots
    if not plan.urgent:
        # Most endpoints get one slot. One statement leases for all of them.
        one_each = json.dumps([no for no, slots in plan.slots.items() if slots == 1])
        for row in in_one_row(connection, _QUERIES["due_of_each"], {"endpoints": one_each, "now": plan.now}):
            leased[row[2]] = [row]
        one_by_one = {no: slots for no, slots in plan.slots.items() if slots > 1}
    statement = _QUERIES["urgent_of_one" if plan.urgent else "due_of_one"]
    for no, slots in one_by_one.items():
        values = {"endpoint": no, "now": plan.now, "slots": slots}
        leased[no] = sorted(in_one_row(connection, statement, values))
    ids = json.dumps([row[0] for rows in leased.values() for row in rows])
    connection.execute(_QUERIES["lease"], {"lease": lease, "now": plan.now, "ids": ids})
    return leased


def _deliveries(
    connection: sqlite3.Connection,
    rows: Sequence[Sequence[Any]],
    plan: ClaimPlan,
    found: Mapping[int, tuple[str, str, str, str]],
    request: ClaimRequest,
) -> list[LeasedDelivery]:
    events = _events(connection, sorted({row[1] for row in rows}))
    targets = {}
    for endpoint, secrets in _secrets(connection, sorted({row[2] for row in rows}), request.now).items():
        identifier, tenant, url, headers = found[endpoint]
        targets[endpoint] = Target(
            identifier, tenant, url, json.loads(headers), secrets, plan.candidates[endpoint].holds.proven
        )
    deliveries = []
    for id, seq, endpoint, number, step, trigger in rows:
        if seq not in events:
            connection.execute(_QUERIES["drop"], (id,))
            continue
        delivery = targets[endpoint].delivery(
            (seq, *events[seq]),
            id=id,
            endpoint=endpoint,
            number=number,
            step=step,
            trigger=trigger,
            lease=request.lease,
        )
        deliveries.append(delivery)
    return deliveries


def _events(connection: sqlite3.Connection, seqs: Sequence[int]) -> dict[int, tuple[str, str, bytes, str | None]]:
    events = {}
    for start in range(0, len(seqs), _EVENTS_AT_ONCE):
        part = json.dumps(seqs[start : start + _EVENTS_AT_ONCE])
        ((heads, payloads),) = connection.execute(_QUERIES["events"], (part,))
        at = 0
        for seq, identifier, event_type, length, trace in json.loads(heads):
            events[seq] = (identifier, event_type, payloads[at : at + length], trace)
            at += length
    return events


def _secrets(connection: sqlite3.Connection, endpoints: Sequence[int], now: int) -> dict[int, tuple[str, ...]]:
    secrets: dict[int, tuple[str, ...]] = {}
    rows = in_one_row(connection, _QUERIES["secrets"], {"endpoints": json.dumps(endpoints), "now": now})
    # The current secret, which does not expire, comes first.
    for endpoint, key, _ in sorted(rows, key=lambda row: row[2] or math.inf, reverse=True):
        secrets[endpoint] = (*secrets.get(endpoint, ()), key)
    return secrets


def release(connection: sqlite3.Connection, *, leased: Sequence[LeasedDelivery], due: int, now: int) -> None:
    """Release leases. See `DeliveryStore`."""
    connection.executemany(
        _QUERIES["release"], [{"id": one.id, "number": one.number, "due": due, "now": now} for one in leased]
    )


def set_aside(connection: sqlite3.Connection, *, delivery: LeasedDelivery) -> None:
    """Make no further automatic attempts. See `DeliveryStore`."""
    connection.execute(_QUERIES["set_aside"], {"id": delivery.id, "number": delivery.number})


def fix_times(connection: sqlite3.Connection, *, after: int, now: int, batch: int = _FIXED_AT_ONCE) -> list[int]:
    """Move a batch of times that were stored while the clock was ahead. Returns the numbers of the deliveries."""
    values = {"after": after, "later": now + STAMPED_AHEAD, "batch": batch}
    ids = [id for (id,) in connection.execute(_QUERIES["stamped_later"], values)]
    connection.execute(_QUERIES["fix_times"], {"ids": json.dumps(ids), "now": now})
    return ids


@dataclass(frozen=True, slots=True)
class News:
    """New deliveries: the last number, their endpoints, and the endpoints with urgent ones."""

    last: int
    endpoints: Sequence[int]
    urgent: Sequence[int]


def news(connection: sqlite3.Connection, *, after: int, now: int) -> News:
    """Return the deliveries that were added after a number."""
    row = connection.execute(_QUERIES["last_delivery"]).fetchone()
    endpoints = in_one_row(connection, _QUERIES["added"], (after,))
    return News(0 if row is None else row[0], endpoints, _urgent(connection, now))


def orphans(connection: sqlite3.Connection) -> list[int]:
    """Return the numbers of deleted endpoints that still have deliveries or attempts, after an interruption."""
    return [no for (no,) in connection.execute(_QUERIES["orphans"])]
