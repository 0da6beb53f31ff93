"""Delivering again: one event, or all that failed. The functions run on the database's threads."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime

from starlette_webhooks.event_types import TEST_PING
from starlette_webhooks.exceptions import Conflict
from starlette_webhooks.identifiers import first_id
from starlette_webhooks.stores.sqlite.log import to_ms
from starlette_webhooks.stores.sqlite.queries import load_queries

__all__ = ["Recovered", "recover", "resend"]

_QUERIES = load_queries("queue.sql")
_SOON = 30_000


@dataclass(frozen=True, slots=True)
class Recovered:
    """How many deliveries a batch has queued, and behind what to go on; None at the end."""

    recovered: int
    after: str | None


@dataclass(frozen=True, slots=True)
class _Endpoint:
    no: int
    event_types: frozenset[str]
    channels: frozenset[str]


def _endpoint(connection: sqlite3.Connection, tenant: str, identifier: str) -> _Endpoint | None:
    row = connection.execute(_QUERIES["endpoint"], (tenant, identifier)).fetchone()
    if row is None:
        return None
    no, identifier, reason, event_types, channels = row
    if reason is not None:
        raise Conflict(
            f"The endpoint `{identifier}` is disabled ({reason}). Enable it first: `PATCH` it with "
            '`{"disabled": false}`.',
            code="endpoint_disabled",
        )
    return _Endpoint(no, frozenset(json.loads(event_types)), frozenset(json.loads(channels)))


def resend(connection: sqlite3.Connection, tenant: str, event_id: str, endpoint_id: str, now: int) -> bool:
    """Deliver an event now, filters aside. False where the tenant has no such event or no such endpoint.

    Where the delivery is pending, it is made now, and goes on with its schedule where it fails. An attempt under way
    does not count: the event is delivered once more.

    Args:
        now: In milliseconds.

    Raises:
        Conflict: The endpoint is disabled.
    """
    event = connection.execute(_QUERIES["event"], (tenant, event_id)).fetchone()
    endpoint = _endpoint(connection, tenant, endpoint_id)
    if event is None or endpoint is None:
        return False
    connection.execute(_QUERIES["resend"], {"event": event[0], "endpoint": endpoint.no, "now": now})
    return True


def recover(
    connection: sqlite3.Connection,
    tenant: str,
    endpoint_id: str,
    since: datetime,
    until: datetime | None,
    missing: bool,
    after: str | int,
    now: int,
    batch: int = 500,
) -> Recovered | None:
    """Deliver again a batch of what failed and never succeeded of the events since then. None for no such endpoint.

    What waits for its next attempt is tried now. With `missing`, then also the events that the endpoint's filters
    match and that were never tried.

    Args:
        after: `after` of the batch before; empty or 0 to begin.

    Raises:
        Conflict: The endpoint is disabled.
    """
    endpoint = _endpoint(connection, tenant, endpoint_id)
    if endpoint is None:
        return None
    low = to_ms(since)
    high = first_id("msg_", now + 1000 if until is None else to_ms(until))
    # The upper bound stays as it was at first, or what fails again meanwhile would be recovered for ever.
    phase, bound, place = str(after).split(":") if after else ("failed", first_id("atmpt_", now + 1000), "")
    if phase == "failed":
        values: dict[str, str | int] = {
            "endpoint": endpoint.no,
            "after": place or first_id("atmpt_", low),
            "until": bound,
            "batch": batch,
        }
        recovered, last = _recover_failed(connection, values, first_id("msg_", low), high, now)
        if last is None and not missing:
            return Recovered(recovered, None)
        return Recovered(recovered, f"missing:{bound}:" if last is None else f"failed:{bound}:{last}")
    between: dict[str, str | int] = {
        "tenant": tenant,
        "after": place or first_id("msg_", low),
        "until": high,
        "batch": batch,
    }
    recovered, last = _recover_missing(connection, endpoint, between, now)
    return Recovered(recovered, None if last is None else f"missing:{bound}:{last}")


def _recover_failed(
    connection: sqlite3.Connection, values: dict[str, str | int], low: str, high: str, now: int
) -> tuple[int, str | None]:
    rows = connection.execute(_QUERIES["failed_attempts"], values).fetchall()
    recovered = 0
    for seq in {seq for _, seq, event_id in rows if low <= event_id < high}:
        # What is due soon comes by itself, or is under way.
        again = {"event": seq, "endpoint": values["endpoint"], "now": now, "soon": now + _SOON}
        recovered += connection.execute(_QUERIES["recover_failed"], again).rowcount
    return recovered, rows[-1][0] if len(rows) == values["batch"] else None


def _recover_missing(
    connection: sqlite3.Connection, endpoint: _Endpoint, between: dict[str, str | int], now: int
) -> tuple[int, str | None]:
    rows = connection.execute(_QUERIES["events_between"], between).fetchall()
    recovered = 0
    for seq, _, event_type, channels in rows:
        if _matches(endpoint, event_type, channels):
            values = {"event": seq, "endpoint": endpoint.no, "now": now}
            recovered += connection.execute(_QUERIES["recover_missing"], values).rowcount
    return recovered, rows[-1][1] if len(rows) == between["batch"] else None


def _matches(endpoint: _Endpoint, event_type: str, channels: str | None) -> bool:
    # Tests were meant for one endpoint.
    if event_type == TEST_PING.name or (endpoint.event_types and event_type not in endpoint.event_types):
        return False
    return not endpoint.channels or not endpoint.channels.isdisjoint(json.loads(channels or "[]"))
