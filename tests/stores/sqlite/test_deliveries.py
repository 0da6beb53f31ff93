"""Deliveries in SQLite: how the work grows, and what remains."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.endpoints import Endpoint
from starlette_webhooks.stores.base import RecoverCursor, RecoverWindow
from starlette_webhooks.stores.sqlite import endpoints
from starlette_webhooks.stores.sqlite.attempts import list_attempts
from starlette_webhooks.stores.sqlite.deliveries import due, orphans
from starlette_webhooks.stores.sqlite.queries import load_queries, read_sql
from starlette_webhooks.stores.sqlite.redelivery import recover, resend
from tests.delivery.delivering import add_endpoint, emit
from tests.stores.sqlite.queueing import LEASE, MINUTE, NOW, attempt, outcome, record, rows, take


@pytest.fixture
def db(tmp_path: Path) -> Generator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "webhooks.db", isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;" + read_sql("schema.sql"))
    yield connection
    connection.close()


# Claiming


def test_a_delivery_whose_event_is_gone_is_dropped(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/")
    emit(db)
    db.execute("DELETE FROM event")
    assert take(db).deliveries == []
    assert rows(db, "SELECT * FROM delivery") == []


def test_a_scan_continues_where_the_last_one_ended(db: sqlite3.Connection) -> None:
    for number in range(5):
        add_endpoint(db, f"https://example.com/{number}", disabled=number == 1)
    emit(db)
    first = due(db, due_by=NOW + MINUTE, endpoints=2, now=NOW)
    assert ([one.endpoint for one in first.endpoints], first.after) == ([1, 3], 3)
    second = due(db, after=3, due_by=NOW + MINUTE, endpoints=2, now=NOW)
    assert ([one.endpoint for one in second.endpoints], second.after) == ([4, 5], 5)
    assert due(db, after=5, due_by=NOW + MINUTE, endpoints=2, now=NOW).after is None


# How the work grows


@pytest.mark.parametrize("file", ["deliveries.sql", "redelivery.sql", "recording.sql", "attempts.sql"])
def test_no_statement_reads_a_whole_table(db: sqlite3.Connection, file: str) -> None:
    for name, statement in load_queries(file).items():
        statement = statement.replace("{rows}", f"({', '.join('1' * 10)})")
        plan = [step[3] for step in db.execute(f"EXPLAIN QUERY PLAN {statement}", some_values(statement))]
        tables = [step for step in plan if step.startswith("SCAN")]
        allowed = (
            "SCAN given",
            "SCAN waiting",
            "SCAN asked",
            "SCAN sqlite_sequence",
            "SCAN delivering",
            "SCAN attempted",
            "SCAN (subquery",
            "SCAN CONSTANT",
        )
        assert [step for step in tables if not step.startswith(allowed)] == [], (name, plan)


def some_values(statement: str) -> dict[str, Any] | list[Any]:
    # `EXPLAIN` does not read the values, but they must be given.
    names = re.findall(r":([a-z_]+)", statement)
    numbers = set(re.findall(r"\?\d", statement))
    return dict.fromkeys(names, 1) if names else [1] * (len(numbers) or statement.count("?"))


def test_a_claim_finds_due_deliveries_by_the_index(db: sqlite3.Connection) -> None:
    values = {"endpoint": 1, "endpoints": "[1]", "now": 1, "slots": 1}
    queries = load_queries("deliveries.sql")
    for name in ("due_of_each", "due_of_one"):
        plan = [step[3] for step in db.execute(f"EXPLAIN QUERY PLAN {queries[name]}", values)]
        assert any("INDEX delivery_by_due (endpoint=? AND due<?)" in step for step in plan), plan
        assert not any("TEMP B-TREE" in step for step in plan), "it sorts"


def steps(db: sqlite3.Connection, work: Any) -> int:
    """How many steps of SQLite's virtual machine it takes."""
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 0

    db.set_progress_handler(tick, 1)
    work()
    db.set_progress_handler(None, 0)
    return ticks


def test_a_backlog_does_not_slow_down_claims_and_scans(db: sqlite3.Connection) -> None:
    for number in range(10):
        add_endpoint(db, f"https://example.com/{number}")

    def fill(events: int) -> None:
        db.execute("BEGIN")
        for _ in range(events):
            emit(db)
        db.execute("COMMIT")

    costs = []
    for events in (100, 5000):
        fill(events)
        costs.append((steps(db, lambda: due(db, due_by=NOW + MINUTE, now=NOW)), steps(db, lambda: take(db, each=3))))
    (scan_few, claim_few), (scan_many, claim_many) = costs
    assert scan_many == scan_few
    assert claim_many <= claim_few * 1.1


# Recording


def test_an_outcome_for_a_deleted_endpoint_is_dropped(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/")
    emit(db)
    (delivery,) = take(db).deliveries
    no = endpoints.delete_endpoint(db, "acme", endpoint.id)
    assert record(db, outcome(delivery, ok=False, status=410, next_due=NOW), disable_after=1) is None
    assert no == 1
    assert orphans(db) == [1]
    while endpoints.delete_leftovers(db, 1):
        pass
    assert orphans(db) == []
    assert rows(db, "SELECT * FROM delivery") == rows(db, "SELECT * FROM attempt") == []
    assert rows(db, "SELECT * FROM endpoint_hour") == []


def test_recovery_and_removal_take_small_steps(db: sqlite3.Connection) -> None:
    # The next event of any tenant waits for a step.
    first = add_endpoint(db, "https://example.com/1")
    for _ in range(150):
        emit(db)
    second = add_endpoint(db, "https://example.com/2")
    window = RecoverWindow(datetime.fromtimestamp(NOW / 1000 - 3600, UTC), None, missing=True)
    recovered = recover(db, "acme", second.id, window, RecoverCursor("missing", ""), NOW + MINUTE)
    assert recovered is not None
    assert (recovered.count, recovered.cursor is None) == (100, False)
    endpoints.delete_endpoint(db, "acme", first.id)
    left = []
    while endpoints.delete_leftovers(db, 1):
        left += rows(db, "SELECT count(*) FROM delivery WHERE endpoint = 1")
    assert left == [(50,), (0,)]


def test_orphans_are_found_by_their_attempts_too(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/1")
    add_endpoint(db, "https://example.com/2")
    emit(db)
    for delivery in take(db).deliveries:
        record(db, outcome(delivery), disable_after=0)
    db.execute("DELETE FROM endpoint WHERE no = 2")
    assert orphans(db) == [2]


# Delivering again


def pending(db: sqlite3.Connection) -> list[tuple[int, int, int, str]]:
    return rows(db, "SELECT event, due, step, trigger FROM delivery ORDER BY event")


def run_recover(
    db: sqlite3.Connection,
    endpoint: Endpoint,
    *,
    tenant: str = "acme",
    missing: bool = False,
    since: int = NOW - 60 * MINUTE,
    until: int | None = None,
    now: int = NOW + MINUTE,
    batch: int = 500,
) -> int | None:
    count = 0
    cursor: RecoverCursor | None = None
    end = None if until is None else datetime.fromtimestamp(until / 1000, UTC)
    window = RecoverWindow(datetime.fromtimestamp(since / 1000, UTC), end, missing)
    while True:
        recovered = recover(db, tenant, endpoint.id, window, cursor, now, batch)
        if recovered is None:
            return None
        count += recovered.count
        cursor = recovered.cursor
        if cursor is None:
            return count


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_recovering_queues_what_failed_and_never_succeeded(db: sqlite3.Connection, batch: int) -> None:
    endpoint = add_endpoint(db, "https://example.com/")
    for _ in range(6):
        emit(db)
    one, two, three, four, five, _six = take(db, now=NOW + 1000).deliveries
    record(db, outcome(one), disable_after=0)
    record(db, outcome(two, ok=False), disable_after=0)
    record(db, outcome(three, ok=False), disable_after=0)
    record(db, outcome(four, ok=False, next_due=NOW + 100 * MINUTE), disable_after=0)
    record(db, outcome(five, ok=False, next_due=NOW + MINUTE + 10), disable_after=0)
    resend(db, "acme", three.event_id, endpoint.id, NOW + 2000)
    record(db, outcome(take(db, now=NOW + 2000).deliveries[0]), disable_after=0)
    assert run_recover(db, endpoint, batch=batch) == 2
    assert pending(db) == [
        (2, NOW + MINUTE, 0, "manual"),
        (4, NOW + MINUTE, 0, "manual"),
        (5, NOW + MINUTE + 10, 1, "scheduled"),
        (6, NOW + 1000 + LEASE, 0, "scheduled"),
    ]
    assert run_recover(db, endpoint, batch=batch) == 0


def test_recovering_what_is_missing_follows_the_filters(db: sqlite3.Connection) -> None:
    for tenant, type, channels in (
        ("acme", "invoice.paid", ("vip",)),
        ("acme", "invoice.paid", ()),
        ("acme", "invoice.paid", ("vip", "eu")),
        ("acme", "other.type", ("vip",)),
        ("acme", "test.ping", ("vip",)),
        ("other", "invoice.paid", ("vip",)),
    ):
        emit(db, tenant=tenant, type=type, channels=channels)
    endpoint = add_endpoint(db, "https://example.com/", event_types=("invoice.paid", "test.ping"), channels=("vip",))
    emit(db, channels=("vip",))
    attempt(db)
    assert run_recover(db, endpoint) == 0
    assert run_recover(db, endpoint, missing=True, batch=2) == 2
    assert [row[0] for row in pending(db)] == [1, 3]
    assert run_recover(db, endpoint, missing=True) == 0


# Lists and statistics


def history(db: sqlite3.Connection, *outcomes: tuple[bool, int], tenant: str = "acme") -> None:
    for place, (ok, status) in enumerate(outcomes):
        emit(db, tenant=tenant, type="invoice.paid" if place % 2 else "other.type")
        attempt(db, ok=ok, at=NOW + 1000 + place * 1000, status=status)


def ids(db: sqlite3.Connection, *, most: int, **query: Any) -> list[str]:
    """Return the items of all pages."""
    found: list[str] = []
    cursor = None
    while True:
        page = list_attempts(db, "acme", AttemptQuery(**query, cursor=cursor), most=most)
        found += [one.id for one in page.items]
        assert page.done is (page.next_cursor is None)
        if page.next_cursor is None:
            return found
        cursor = page.next_cursor


def test_a_rare_filter_ends_the_page_early_with_a_cursor(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/")
    history(db, (True, 204), (True, 200), (True, 200), (True, 200), (True, 200))
    page = list_attempts(db, "acme", AttemptQuery(event_types=("no.such",)), most=2)
    assert (list(page.items), page.done) == ([], False)
    assert len(ids(db, most=2, event_types=("other.type",))) == 3
