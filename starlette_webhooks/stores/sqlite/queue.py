"""The queue of deliveries: finding what is due, and leasing it.

A delivery is leased by moving `due` on to the end of the lease, so that of a crashed process is due again by itself.
Only who holds the lease (`attempt` and `due` are as it left them) may move or remove the delivery. The functions take a
connection and run on the database's threads; times are in milliseconds since the epoch.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from starlette_webhooks.delivery.limits import Ask, Lane, Room, share
from starlette_webhooks.stores.sqlite.attempts import list_attempts, stats
from starlette_webhooks.stores.sqlite.queries import in_one_row, load_queries
from starlette_webhooks.stores.sqlite.redelivery import Recovered, recover, resend

__all__ = [
    "Claim",
    "Found",
    "Job",
    "Scan",
    "claim",
    "list_attempts",
    "orphans",
    "recover",
    "Recovered",
    "resend",
    "scan",
    "stats",
]

_QUERIES = load_queries("queue.sql")
_SCAN_ENDPOINTS = 1000
_BURST_SECONDS = 0.1
# Of 16 MiB at most, as the largest setting of `max_event_bytes`; SQLite's strings end at a billion bytes.
_EVENTS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Found:
    """An endpoint with deliveries, when the first of them is due, and whether its last attempt failed."""

    endpoint: int
    due: float
    failing: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """What a look at some endpoints found, and behind which to go on; None where these were the last."""

    found: Sequence[Found]
    after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A delivery leased to this process, with all that its attempt takes.

    Attributes:
        id, event, endpoint: Numbers of rows.
        number: 1 for the first attempt.
        step: Index in the retry schedule of this attempt.
        lease: When the lease ends.
        keys: The secrets to sign with, the current one first.
    """

    id: int
    event: int
    endpoint: int
    number: int
    step: int
    trigger: str
    lease: int
    event_id: str
    event_type: str
    payload: bytes
    tenant: str
    endpoint_id: str
    url: str
    headers: Mapping[str, str]
    keys: tuple[str, ...]


@dataclass(slots=True)
class Claim:
    """What was leased, and what to do about the other endpoints that were asked for.

    Attributes:
        left: Endpoints that have more deliveries due than they got slots.
        unserved: Endpoints that have deliveries due and got no slot, in the order they were asked in.
        waiting: When the first delivery of an endpoint is due, or its rate limit allows one; (time, endpoint).
        failing: Endpoints whose last attempt failed.
    """

    jobs: list[Job] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    unserved: list[int] = field(default_factory=list)
    waiting: list[tuple[float, int]] = field(default_factory=list)
    failing: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Asker:
    ask: Ask
    id: str
    url: str
    headers: str
    rate: int | None
    paced_until: float


def scan(connection: sqlite3.Connection, *, after: int = 0, due_by: int, endpoints: int = _SCAN_ENDPOINTS) -> Scan:
    """Look at the enabled endpoints numbered above `after` that have deliveries due by then, `endpoints` at a time."""
    rows = connection.execute(_QUERIES["scan"], {"after": after, "endpoints": endpoints}).fetchall()
    found = [Found(no, due, bool(failing)) for no, due, failing in rows if due is not None and due <= due_by]
    last = rows[-1][0]
    return Scan(found, last)


def claim(
    connection: sqlite3.Connection,
    *,
    asks: Sequence[Ask],
    room: Room,
    tenants: Mapping[str, int],
    now: int,
    lease: int,
) -> Claim:
    """Lease deliveries that are due, shared out fairly over tenants and endpoints.

    Args:
        asks: The endpoints to look at. The work grows with their number alone, not with what is pending.
        room: The slots to fill.
        tenants: Attempts under way by tenant.
        lease: When the lease ends.
    """
    result = Claim()
    askers = _askers(connection, asks, now, result)
    shares = share([asker.ask for asker in askers.values()], room, tenants)
    leased = _lease(connection, shares, now, lease) if shares else {}
    for no, asker in askers.items():
        wanted, got = shares.get(no, 0), len(leased.get(no, ()))
        if not wanted:
            result.unserved.append(no)
            continue
        pace = _pace(connection, asker, got, now)
        if got < wanted:
            continue
        if pace > now:
            result.waiting.append((pace, no))
        else:
            result.left.append(no)
    rows = [row for no in askers for row in leased.get(no, ())]
    if rows:
        result.jobs = _jobs(connection, rows, askers, now, lease)
    return result


def _lease(
    connection: sqlite3.Connection, shares: Mapping[int, int], now: int, lease: int
) -> dict[int, list[Sequence[Any]]]:
    """Lease that many deliveries of each endpoint, or as many as are due. Returns their rows by endpoint."""
    leased: dict[int, list[Sequence[Any]]] = {}
    one_each = json.dumps([no for no, wanted in shares.items() if wanted == 1])
    for row in in_one_row(connection, _QUERIES["due_of_each"], {"endpoints": one_each, "now": now}):
        leased[row[2]] = [row]
    for no, wanted in shares.items():
        if wanted > 1:
            values = {"endpoint": no, "now": now, "share": wanted}
            leased[no] = sorted(in_one_row(connection, _QUERIES["due_of_one"], values))
    ids = json.dumps([row[0] for rows in leased.values() for row in rows])
    connection.execute(_QUERIES["lease"], {"lease": lease, "ids": ids})
    return leased


def _askers(connection: sqlite3.Connection, asks: Sequence[Ask], now: int, result: Claim) -> dict[int, _Asker]:
    by_endpoint = {ask.endpoint: ask for ask in asks}
    askers: dict[int, _Asker] = {}
    for row in in_one_row(connection, _QUERIES["askers"], (json.dumps(list(by_endpoint)),)):
        no, identifier, tenant, url, headers, rate, paced_until, failing, due = row
        if due is None:
            continue
        ask = by_endpoint[no]
        if failing:
            result.failing.append(no)
            # Only the database knows of failures before this process started.
            if ask.lane is Lane.NEW:
                ask = replace(ask, lane=Lane.SLOW)
        if max(due, paced_until) > now:
            result.waiting.append((max(due, paced_until), no))
            continue
        room = ask.room if rate is None else min(ask.room, _allowed(rate, paced_until, now))
        askers[no] = _Asker(replace(ask, tenant=tenant, room=room), identifier, url, headers, rate, paced_until)
    # In the order they were asked in, in which endpoints take turns.
    return {no: askers[no] for no in by_endpoint if no in askers}


def _paced_from(rate: int, paced_until: float, now: int) -> float:
    # A tenth of a second's worth may go at once, so that high rates need no claim for each delivery.
    burst = max(int(rate * _BURST_SECONDS), 1)
    return max(paced_until, now - (burst - 1) * 1000 / rate)


def _allowed(rate: int, paced_until: float, now: int) -> int:
    return int((now - _paced_from(rate, paced_until, now)) * rate / 1000 + 1e-6) + 1


def _pace(connection: sqlite3.Connection, asker: _Asker, leased: int, now: int) -> float:
    """Note in the database, where all processes see it, when the rate limit lets the next attempt go."""
    if asker.rate is None or not leased:
        return 0.0
    until = _paced_from(asker.rate, asker.paced_until, now) + leased * 1000 / asker.rate
    connection.execute(_QUERIES["pace"], (until, asker.ask.endpoint))
    return math.ceil(until)


def _jobs(
    connection: sqlite3.Connection, rows: Sequence[Sequence[Any]], askers: Mapping[int, _Asker], now: int, lease: int
) -> list[Job]:
    endpoints = json.dumps(sorted({row[2] for row in rows}))
    events = _events(connection, sorted({row[1] for row in rows}))
    keys: dict[int, tuple[str, ...]] = {}
    secrets = in_one_row(connection, _QUERIES["secrets"], {"endpoints": endpoints, "now": now})
    # The current one, which does not expire, comes first.
    for endpoint, key, _ in sorted(secrets, key=lambda row: row[2] or math.inf, reverse=True):
        keys[endpoint] = (*keys.get(endpoint, ()), key)
    headers = {endpoint: json.loads(askers[endpoint].headers) for endpoint in keys}
    jobs = []
    for id, seq, endpoint, number, step, trigger in rows:
        if seq not in events:
            connection.execute(_QUERIES["drop"], (id,))
            continue
        event_id, event_type, payload = events[seq]
        asker = askers[endpoint]
        jobs.append(
            Job(
                id=id,
                event=seq,
                endpoint=endpoint,
                number=number,
                step=step,
                trigger=trigger,
                lease=lease,
                event_id=event_id,
                event_type=event_type,
                payload=payload,
                tenant=asker.ask.tenant,
                endpoint_id=asker.id,
                url=asker.url,
                headers=headers[endpoint],
                keys=keys[endpoint],
            )
        )
    return jobs


def _events(connection: sqlite3.Connection, seqs: Sequence[int]) -> dict[int, tuple[str, str, bytes]]:
    events = {}
    for start in range(0, len(seqs), _EVENTS_AT_ONCE):
        part = json.dumps(seqs[start : start + _EVENTS_AT_ONCE])
        ((heads, payloads),) = connection.execute(_QUERIES["events"], (part,))
        at = 0
        for seq, identifier, event_type, length in json.loads(heads):
            events[seq] = (identifier, event_type, payloads[at : at + length])
            at += length
    return events


def orphans(connection: sqlite3.Connection) -> list[int]:
    """Numbers of endpoints that are gone, but have left deliveries or attempts: their removal was cut short."""
    return [no for (no,) in connection.execute(_QUERIES["orphans"])]
