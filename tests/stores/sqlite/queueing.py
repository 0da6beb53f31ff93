"""Claiming deliveries and recording attempts on a bare connection."""

from __future__ import annotations

import sqlite3
import time
from itertools import count
from typing import Any

from starlette_webhooks.delivery.claims import ClaimRequest
from starlette_webhooks.delivery.deliveries import Claim, DisabledEndpoint, LeasedDelivery, Outcome
from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest
from starlette_webhooks.identifiers import first_id
from starlette_webhooks.stores.sqlite.deliveries import claim, due
from starlette_webhooks.stores.sqlite.recording import Recording

# Events are emitted in real time, within half an hour from now, so all are due by then.
NOW = int(time.time() * 1000) + 1_800_000
LEASE = 25_000
MINUTE = 60_000
NUMBERS = count(1)
CAPACITY = Capacity(free=100, reserve=0, degraded=50)


def rows(db: sqlite3.Connection, statement: str, *values: Any) -> list[Any]:
    return db.execute(statement, values).fetchall()


def take(
    db: sqlite3.Connection,
    *numbers: int,
    now: int = NOW + 1000,
    capacity: Capacity = CAPACITY,
    each: int = 8,
    **tenants: int,
) -> Claim:
    """Claim as a process with running attempts for these tenants."""
    found = numbers or tuple(one.endpoint for one in due(db, due_by=now, now=now).endpoints)
    requests = [SlotRequest(endpoint, Lane.HEALTHY, each, 0) for endpoint in found]
    request = ClaimRequest(
        requests=requests, capacity=capacity, tenants=tenants, now=now, lease=now + LEASE, unproven=None
    )
    return claim(db, request=request)


def outcome(
    delivery: LeasedDelivery, *, ok: bool = True, at: int = NOW + 1000, status: int | None = None, **values: Any
) -> Outcome:
    status_code = status or (200 if ok else 500)
    return Outcome(
        delivery=delivery,
        # Ids minted in the future would also move those of events.
        attempt_id=first_id("atmpt_", at)[:-6] + f"{next(NUMBERS):06}",
        ok=ok,
        started=at,
        ended=at + 10,
        duration_ms=10,
        status_code=status_code,
        **values,
    )


def record(db: sqlite3.Connection, outcome: Outcome, *, disable_after: int = 0) -> DisabledEndpoint | None:
    recorded = Recording(outcome, disable_after=disable_after)(db)
    return None if recorded is None else recorded.disabled


def attempt(db: sqlite3.Connection, *, ok: bool = True, at: int = NOW + 1000, **values: Any) -> None:
    """Claim the one delivery that is due and record an attempt at it."""
    (delivery,) = take(db, now=at).deliveries
    record(db, outcome(delivery, ok=ok, at=at, **values), disable_after=0)
