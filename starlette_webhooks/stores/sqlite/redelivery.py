"""Redelivers one event, or everything that failed. The functions run on the database's threads."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from starlette_webhooks.conflicts import endpoint_disabled
from starlette_webhooks.event_types import TEST_PING
from starlette_webhooks.identifiers import first_id
from starlette_webhooks.stores.base import CountedMissing, RecoverCursor, Recovered, RecoverWindow
from starlette_webhooks.stores.limits import SOON_MS
from starlette_webhooks.stores.moments import to_ms
from starlette_webhooks.stores.sqlite.queries import load_queries

__all__ = ["Resent", "count_missing", "recover", "resend"]

_QUERIES = load_queries("redelivery.sql")


@dataclass(frozen=True, slots=True)
class _Endpoint:
    no: int
    event_types: frozenset[str]
    channels: frozenset[str]

    def matches(self, event_type: str, channels: str | None) -> bool:
        # Tests from before version 2 of the schema have no mark.
        if event_type == TEST_PING.name or (self.event_types and event_type not in self.event_types):
            return False
        return not self.channels or not self.channels.isdisjoint(json.loads(channels or "[]"))


def _endpoint(connection: sqlite3.Connection, tenant: str, identifier: str) -> _Endpoint | None:
    row = connection.execute(_QUERIES["endpoint"], (tenant, identifier)).fetchone()
    if row is None:
        return None
    no, identifier, reason, event_types, channels = row
    if reason is not None:
        raise endpoint_disabled(identifier, reason)
    return _Endpoint(no, frozenset(json.loads(event_types)), frozenset(json.loads(channels)))


@dataclass(frozen=True, slots=True)
class Resent:
    """The endpoint of a delivery that was made urgent."""

    endpoint: int


def resend(connection: sqlite3.Connection, tenant: str, event_id: str, endpoint_id: str, now: int) -> Resent | None:
    """Make a delivery urgent. Returns None if there is no such event or endpoint. See `Redelivery`."""
    event = connection.execute(_QUERIES["event"], (tenant, event_id)).fetchone()
    endpoint = _endpoint(connection, tenant, endpoint_id)
    if event is None or endpoint is None:
        return None
    connection.execute(_QUERIES["resend"], {"event": event[0], "endpoint": endpoint.no, "now": now})
    return Resent(endpoint.no)


def recover(
    connection: sqlite3.Connection,
    tenant: str,
    endpoint_id: str,
    window: RecoverWindow,
    cursor: RecoverCursor | None,
    now: int,
    batch: int = 100,
) -> Recovered | None:
    """Queue a batch of failed deliveries. See `Redelivery.recover`."""
    endpoint = _endpoint(connection, tenant, endpoint_id)
    if endpoint is None:
        return None
    cursor = cursor or RecoverCursor("failed", first_id("atmpt_", now + 1000))
    if cursor.phase == "missing":
        return _recover_missing(connection, endpoint, tenant, window, cursor, now, batch)
    return _recover_failed(connection, endpoint, window, cursor, now, batch)


def count_missing(
    connection: sqlite3.Connection,
    tenant: str,
    endpoint_id: str,
    window: RecoverWindow,
    after: str | None,
    now: int,
    batch: int = 500,
) -> CountedMissing | None:
    """See `UndeliveredStore.count_missing`."""
    endpoint = _endpoint(connection, tenant, endpoint_id)
    if endpoint is None:
        return None
    low, high = _event_bounds(window, now)
    values = {"tenant": tenant, "endpoint": endpoint.no, "after": after or low, "until": high, "batch": batch}
    rows = connection.execute(_QUERIES["sent_between"], values).fetchall()
    unsent = [(event_type, channels) for _, event_type, channels, test, sent in rows if not (test or sent)]
    count = sum(endpoint.matches(event_type, channels) for event_type, channels in unsent)
    return CountedMissing(count, rows[-1][0] if len(rows) == batch else None)


def _event_bounds(window: RecoverWindow, now: int) -> tuple[str, str]:
    high = now + 1000 if window.until is None else to_ms(window.until)
    return first_id("msg_", to_ms(window.since)), first_id("msg_", high)


def _recover_failed(
    connection: sqlite3.Connection,
    endpoint: _Endpoint,
    window: RecoverWindow,
    cursor: RecoverCursor,
    now: int,
    batch: int,
) -> Recovered:
    values = {
        "endpoint": endpoint.no,
        "after": cursor.after or first_id("atmpt_", to_ms(window.since)),
        "until": cursor.until,
        "batch": batch,
    }
    rows = connection.execute(_QUERIES["failed_attempts"], values).fetchall()
    low, high = _event_bounds(window, now)
    count = 0
    # Tests are never delivered again.
    for seq in {seq for _, seq, event_id, test in rows if low <= event_id < high and not test}:
        again = {"event": seq, "endpoint": endpoint.no, "now": now, "soon": now + SOON_MS}
        count += connection.execute(_QUERIES["recover_failed"], again).rowcount
    if len(rows) == batch:
        return Recovered(count, RecoverCursor("failed", cursor.until, rows[-1][0]))
    return Recovered(count, RecoverCursor("missing", cursor.until) if window.missing else None)


def _recover_missing(
    connection: sqlite3.Connection,
    endpoint: _Endpoint,
    tenant: str,
    window: RecoverWindow,
    cursor: RecoverCursor,
    now: int,
    batch: int,
) -> Recovered:
    low, high = _event_bounds(window, now)
    values = {"tenant": tenant, "after": cursor.after or low, "until": high, "batch": batch}
    rows = connection.execute(_QUERIES["events_between"], values).fetchall()
    count = 0
    for seq, _, event_type, channels, test in rows:
        if not test and endpoint.matches(event_type, channels):
            missing = {"event": seq, "endpoint": endpoint.no, "now": now}
            count += connection.execute(_QUERIES["recover_missing"], missing).rowcount
    done = len(rows) < batch
    return Recovered(count, None if done else RecoverCursor("missing", cursor.until, rows[-1][1]))
