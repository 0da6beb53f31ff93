"""Recording many attempts together has the same effect as recording each of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from starlette_webhooks.delivery.deliveries import LeasedDelivery, Outcome
from starlette_webhooks.stores.sqlite import endpoints
from starlette_webhooks.stores.sqlite.queries import read_sql
from starlette_webhooks.stores.sqlite.recording import Recorded, Recording
from tests.delivery.delivering import add_endpoint, emit
from tests.stores.sqlite.queueing import MINUTE, NOW, outcome, rows, take

EVENTS = 25
# Without the ids and times of events about disabled endpoints.
TABLES = {
    "delivery": "event, endpoint, attempt, step, trigger, CASE WHEN event <= 25 THEN due END",
    "endpoint": "*",
    "endpoint_hour": "*",
    "subscription": "*",
    "event": "seq, tenant, type, json_extract(payload, '$.data')",
}
ATTEMPTS = """
    SELECT id, event, endpoint, ok, number, timestamp, status_code, duration_ms, url, response, error, trigger,
           next_attempt_at
    FROM attempt ORDER BY id
"""


class Leased:
    """A database, and what was claimed from it."""

    def __init__(self, db: sqlite3.Connection, deliveries: Sequence[LeasedDelivery]) -> None:
        self.db = db
        self.deliveries = deliveries


@pytest.fixture(scope="module")
def leased() -> Generator[Leased]:
    """Lease 25 deliveries to each of four endpoints. The second endpoint is failing, and the third has been deleted."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(read_sql("schema.sql"))
        created = [add_endpoint(db, f"https://example.com/{number}") for number in range(4)]
        for _ in range(EVENTS):
            emit(db)
        deliveries = take(db, each=EVENTS).deliveries
        assert len(deliveries) == 100
        db.execute("UPDATE endpoint SET failing_since = ? WHERE no = 2", (NOW - MINUTE,))
        endpoints.delete_endpoint(db, "acme", created[2].id)
        db.execute("DELETE FROM event WHERE seq = 5")
        yield Leased(db, deliveries)


def copy(db: sqlite3.Connection) -> sqlite3.Connection:
    other = sqlite3.connect(":memory:", isolation_level=None)
    db.backup(other)
    return other


def state(db: sqlite3.Connection) -> list[Any]:
    attempts = rows(db, ATTEMPTS)
    return [attempts, *(rows(db, f"SELECT {columns} FROM {table} ORDER BY 1, 2") for table, columns in TABLES.items())]


def an_outcome(delivery: LeasedDelivery, kind: str, at: int) -> Outcome:
    if kind == "late":
        delivery = replace(delivery, lease=delivery.lease - 1)
    if kind in ("ok", "late"):
        return outcome(delivery, at=at, response="done \U0001f600")
    if kind == "gone":
        return outcome(delivery, ok=False, at=at, status=410, next_due=at + MINUTE)
    return outcome(delivery, ok=False, at=at, error="refused", next_due=None if kind == "last" else at + MINUTE)


KINDS = st.sampled_from(["ok"] * 6 + ["late", "fails", "last", "gone"])
PLANS = st.lists(
    st.tuples(st.integers(0, 99), KINDS, st.integers(0, 200 * MINUTE)), unique_by=lambda plan: plan[0], max_size=60
)


def record_together(db: sqlite3.Connection, recordings: Sequence[Recording]) -> list[Recorded | None]:
    return Recording.run_together(db, recordings) if recordings else []


@given(plan=PLANS)
def test_together_or_one_by_one_the_effect_is_the_same(leased: Leased, plan: Sequence[tuple[int, str, int]]) -> None:
    outcomes = [an_outcome(leased.deliveries[number], kind, NOW + at) for number, kind, at in plan]
    recordings = [Recording(one, disable_after=100 * MINUTE) for one in outcomes]
    with closing(copy(leased.db)) as together, closing(copy(leased.db)) as apart:
        expected = [recording(apart) for recording in recordings]
        assert record_together(together, recordings) == expected
        assert state(together) == state(apart)


def test_many_successes_take_a_few_statements(leased: Leased) -> None:
    found = [delivery for delivery in leased.deliveries if delivery.endpoint in (1, 4)]
    outcomes = [outcome(replace(delivery, proven=True)) for delivery in found]
    assert len(outcomes) == 50
    statements: list[str] = []
    with closing(copy(leased.db)) as db:
        db.set_trace_callback(statements.append)
        record_together(db, [Recording(one, disable_after=0) for one in outcomes])
        db.set_trace_callback(None)
        assert rows(db, "SELECT count(*) FROM attempt") == [(48,)], "the fifth event is gone"
    assert len(statements) == 6, "32, 16 and 2 rows of attempts, and three more"
