"""The queue: what is claimed, what records do, delivering again, lists and figures."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from starlette_webhooks.attempts import AttemptQuery
from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.exceptions import Conflict, InvalidRequest
from starlette_webhooks.payloads import new_event
from starlette_webhooks.stores.base import RecoverCursor, RecoverWindow
from starlette_webhooks.stores.sqlite import attempts, endpoints
from starlette_webhooks.stores.sqlite.attempts import list_attempts, stats
from starlette_webhooks.stores.sqlite.deliveries import claim, due, orphans
from starlette_webhooks.stores.sqlite.insertion import Insertion
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


def test_a_claim_carries_all_that_an_attempt_takes(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/hook", headers={"X-Own": "yes"})
    event = emit(db)
    (delivery,) = take(db).deliveries
    assert (delivery.event_id, delivery.event_type, delivery.payload, delivery.tenant) == (
        event.id,
        event.type,
        event.payload,
        "acme",
    )
    assert (delivery.endpoint_id, delivery.url, delivery.headers) == (endpoint.id, endpoint.url, {"X-Own": "yes"})
    assert delivery.secrets == (endpoints.get_secret(db, "acme", endpoint.id),)
    assert (delivery.number, delivery.step, delivery.trigger, delivery.lease) == (1, 0, "scheduled", NOW + 1000 + LEASE)


def test_a_claim_of_many_events_keeps_each_ones_payload_to_the_byte(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/hook")
    sent = [new_event("invoice.paid", {"name": "Größe \U0001f600\\" * number}, tenant="acme") for number in range(70)]
    Insertion(sent)(db)
    deliveries = take(db, each=100).deliveries
    assert {delivery.event_id: delivery.payload for delivery in deliveries} == {
        event.id: event.payload for event in sent
    }


def test_what_is_leased_is_claimed_again_only_after_the_lease(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/")
    emit(db)
    assert len(take(db, 1).deliveries) == 1
    again = take(db, 1, now=NOW + 1000 + LEASE - 1)
    assert again.deliveries == []
    assert again.waiting == [(NOW + 1000 + LEASE, 1)]
    (delivery,) = take(db, 1, now=NOW + 1000 + LEASE).deliveries
    assert delivery.number == 2


def test_slots_are_shared_evenly_over_tenants_then_endpoints(db: sqlite3.Connection) -> None:
    for number in range(20):
        add_endpoint(db, f"https://example.com/{number}", tenant="big")
    add_endpoint(db, "https://example.com/", tenant="small")
    for _ in range(10):
        emit(db, tenant="big")
        emit(db, tenant="small")
    claimed = take(db, capacity=Capacity(free=12, reserve=0, degraded=6))
    assert Counter(delivery.tenant for delivery in claimed.deliveries) == {"big": 6, "small": 6}
    assert max(Counter(delivery.endpoint for delivery in claimed.deliveries if delivery.tenant == "big").values()) == 1
    assert len(claimed.remaining) == 7
    assert len(claimed.unserved) == 14
    # Whoever has attempts under way already comes after the others.
    claimed = take(db, capacity=Capacity(free=4, reserve=0, degraded=2), small=6)
    assert {delivery.tenant for delivery in claimed.deliveries} == {"big"}


def test_an_endpoint_gets_no_more_than_it_has_room_for(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/")
    for _ in range(5):
        emit(db)
    claimed = take(db, each=2)
    assert [delivery.event for delivery in claimed.deliveries] == [1, 2]
    assert claimed.remaining == [1]
    claimed = take(db, each=4)
    assert [delivery.event for delivery in claimed.deliveries] == [3, 4, 5]
    assert claimed.remaining == []


def test_deliveries_of_a_disabled_endpoint_wait_until_it_is_enabled(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/")
    emit(db)
    endpoints.update_endpoint(db, "acme", endpoint.id, EndpointChanges(disabled=True), NOW)
    assert due(db, due_by=NOW + MINUTE).endpoints == []
    assert take(db, 1).deliveries == []
    endpoints.update_endpoint(db, "acme", endpoint.id, EndpointChanges(disabled=False), NOW)
    assert len(take(db).deliveries) == 1


def test_an_endpoint_known_to_fail_counts_as_slow(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/")
    emit(db)
    attempt(db, ok=False, next_due=NOW + 2000)
    requests = [SlotRequest(1, Lane.UNKNOWN, 1, 0)]
    full = Capacity(free=10, reserve=0, degraded=0)
    claimed = claim(db, requests=requests, capacity=full, tenants={}, now=NOW + 3000, lease=NOW + LEASE)
    assert (claimed.deliveries, claimed.unserved, claimed.failing) == ([], [1], [1])


def test_the_current_secret_signs_first_and_expired_ones_not_at_all(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/")
    first = endpoints.get_secret(db, "acme", endpoint.id)
    endpoints.rotate_secret(db, "acme", endpoint.id, "whsec_second", NOW)
    endpoints.rotate_secret(db, "acme", endpoint.id, "whsec_third", NOW + MINUTE)
    emit(db)
    emit(db)
    assert take(db, each=1).deliveries[0].secrets == ("whsec_third", "whsec_second", first)
    assert take(db, now=NOW + endpoints.OVERLAP_MS + 1).deliveries[0].secrets == ("whsec_third", "whsec_second")


def test_the_rate_limit_spaces_claims_whoever_makes_them(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/", rate_limit=5)
    for _ in range(10):
        emit(db)
    claimed = take(db, 1, now=NOW + 1000)
    assert len(claimed.deliveries) == 1
    assert claimed.waiting == [(NOW + 1200, 1)]
    assert take(db, 1, now=NOW + 1199).deliveries == []
    assert len(take(db, 1, now=NOW + 1200).deliveries) == 1
    assert len(take(db, 1, now=NOW + 9000).deliveries) == 1, "what was not used is not saved up"


def test_a_high_rate_is_claimed_a_tenth_of_a_second_at_a_time(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/", rate_limit=100)
    for _ in range(40):
        emit(db)
    assert len(take(db, 1, each=50, now=NOW + 1000).deliveries) == 10
    assert len(take(db, 1, each=50, now=NOW + 1050).deliveries) == 5
    assert len(take(db, 1, each=50, now=NOW + 2000).deliveries) == 10


def test_a_delivery_whose_event_is_gone_is_dropped(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/")
    emit(db)
    db.execute("DELETE FROM event")
    assert take(db).deliveries == []
    assert rows(db, "SELECT * FROM delivery") == []


def test_a_scan_goes_on_where_the_last_one_ended(db: sqlite3.Connection) -> None:
    for number in range(5):
        add_endpoint(db, f"https://example.com/{number}", disabled=number == 1)
    emit(db)
    first = due(db, due_by=NOW + MINUTE, endpoints=2)
    assert ([one.endpoint for one in first.endpoints], first.after) == ([1, 3], 3)
    second = due(db, after=3, due_by=NOW + MINUTE, endpoints=2)
    assert ([one.endpoint for one in second.endpoints], second.after) == ([4, 5], 5)
    assert due(db, after=5, due_by=NOW + MINUTE, endpoints=2).after is None


def test_the_scan_leaves_out_what_is_due_later(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/")
    emit(db)
    attempt(db, ok=False, next_due=NOW + MINUTE)
    assert due(db, due_by=NOW + MINUTE - 1).endpoints == []
    (found,) = due(db, due_by=NOW + MINUTE).endpoints
    assert (found.due, found.failing) == (NOW + MINUTE, True)


# What the work grows with


@pytest.mark.parametrize("file", ["deliveries.sql", "redelivery.sql", "recording.sql", "attempts.sql"])
def test_no_statement_reads_a_whole_table(db: sqlite3.Connection, file: str) -> None:
    for name, statement in load_queries(file).items():
        statement = statement.replace("{rows}", f"({', '.join('1' * 10)})")
        plan = [step[3] for step in db.execute(f"EXPLAIN QUERY PLAN {statement}", some_values(statement))]
        tables = [step for step in plan if step.startswith("SCAN")]
        allowed = ("SCAN given", "SCAN waiting", "SCAN delivering", "SCAN attempted", "SCAN (subquery", "SCAN CONSTANT")
        assert [step for step in tables if not step.startswith(allowed)] == [], (name, plan)


def some_values(statement: str) -> dict[str, Any] | list[Any]:
    # `EXPLAIN` reads no values, but they must be there.
    names = re.findall(r":([a-z_]+)", statement)
    numbers = set(re.findall(r"\?\d", statement))
    return dict.fromkeys(names, 1) if names else [1] * (len(numbers) or statement.count("?"))


def test_a_claim_seeks_what_is_due_by_the_index(db: sqlite3.Connection) -> None:
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


def test_a_backlog_makes_neither_claim_nor_scan_dearer(db: sqlite3.Connection) -> None:
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
        costs.append((steps(db, lambda: due(db, due_by=NOW + MINUTE)), steps(db, lambda: take(db, each=3))))
    (scan_few, claim_few), (scan_many, claim_many) = costs
    assert scan_many == scan_few
    assert claim_many <= claim_few * 1.1


# Recording


def test_a_success_removes_the_delivery_and_is_logged_and_counted(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/")
    emit(db)
    attempt(db)
    assert rows(db, "SELECT * FROM delivery") == []
    assert rows(db, "SELECT ok, number, status_code, next_attempt_at FROM attempt") == [(1, 1, 200, None)]
    hour = (NOW + 1000) // 3_600_000 * 3_600_000
    assert rows(db, "SELECT * FROM endpoint_hour") == [(1, hour, 1, 0)]


def test_a_failure_reschedules_the_delivery_until_the_schedule_is_exhausted(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/")
    emit(db)
    attempt(db, ok=False, next_due=NOW + MINUTE)
    assert rows(db, "SELECT due, attempt, step FROM delivery") == [(NOW + MINUTE, 1, 1)]
    attempt(db, ok=False, at=NOW + MINUTE)
    assert rows(db, "SELECT * FROM delivery") == []
    assert rows(db, "SELECT ok, number, next_attempt_at FROM attempt") == [(0, 1, NOW + MINUTE), (0, 2, None)]


@pytest.mark.parametrize("late_one_succeeds", [True, False])
def test_who_lost_the_lease_leaves_the_delivery_to_who_holds_it(
    db: sqlite3.Connection, late_one_succeeds: bool
) -> None:
    add_endpoint(db, "https://example.com/")
    emit(db)
    (late,) = take(db).deliveries
    (holder,) = take(db, now=NOW + 1000 + LEASE).deliveries
    assert late.id == holder.id
    record(db, outcome(late, ok=late_one_succeeds, next_due=None if late_one_succeeds else NOW), disable_after=0)
    assert rows(db, "SELECT due, attempt, step FROM delivery") == [(holder.lease, 2, 0)]
    record(db, outcome(holder, ok=False, next_due=NOW + MINUTE), disable_after=0)
    assert rows(db, "SELECT due, attempt, step FROM delivery") == [(NOW + MINUTE, 2, 1)]
    assert rows(db, "SELECT number, ok, next_attempt_at FROM attempt ORDER BY number") == [
        (1, int(late_one_succeeds), None),
        (2, 0, NOW + MINUTE),
    ]


def test_what_comes_back_from_a_deleted_endpoint_is_dropped(db: sqlite3.Connection) -> None:
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


def test_orphans_are_found_by_their_attempts_too(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/1")
    add_endpoint(db, "https://example.com/2")
    emit(db)
    for delivery in take(db).deliveries:
        record(db, outcome(delivery), disable_after=0)
    db.execute("DELETE FROM endpoint WHERE no = 2")
    assert orphans(db) == [2]


def test_an_attempt_of_an_event_that_is_gone_is_not_logged(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/")
    emit(db)
    (delivery,) = take(db).deliveries
    db.executescript("DELETE FROM delivery; DELETE FROM event")
    record(db, outcome(delivery), disable_after=0)
    assert rows(db, "SELECT * FROM attempt") == []


def test_gone_disables_at_once_and_only_once(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/")
    emit(db)
    emit(db)
    first, second = take(db).deliveries
    disabled = record(db, outcome(first, ok=False, status=410, next_due=NOW + MINUTE), disable_after=0)
    assert disabled is not None
    assert (disabled.id, disabled.tenant, disabled.reason) == (endpoint.id, "acme", "gone")
    assert record(db, outcome(second, ok=False, status=410, next_due=NOW + MINUTE), disable_after=0) is None
    found = endpoints.get_endpoint(db, "acme", endpoint.id)
    assert found is not None
    assert (found.disabled, found.disabled_reason) == (True, "gone")
    assert rows(db, "SELECT * FROM subscription") == []
    assert len(rows(db, "SELECT * FROM delivery")) == 2


def test_only_unbroken_failure_disables(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/")

    def fail(at: int, *, ok: bool = False) -> bool:
        emit(db)
        delivery = take(db, now=at).deliveries[0]
        return record(db, outcome(delivery, ok=ok, at=at), disable_after=10 * MINUTE) is not None

    assert not fail(NOW + 1 * MINUTE)
    assert not fail(NOW + 10 * MINUTE)
    assert not fail(NOW + 10 * MINUTE, ok=True)
    assert not fail(NOW + 12 * MINUTE)
    assert not fail(NOW + 21 * MINUTE)
    assert fail(NOW + 22 * MINUTE)
    found = endpoints.get_endpoint(db, "acme", endpoint.id)
    assert found is not None
    assert found.disabled_reason == "failing"
    # Whoever enables it again is given the whole time anew.
    endpoints.update_endpoint(db, "acme", endpoint.id, EndpointChanges(disabled=False), NOW + 30 * MINUTE)
    assert not fail(NOW + 31 * MINUTE)


# Delivering again


def pending(db: sqlite3.Connection) -> list[tuple[int, int, int, str]]:
    return rows(db, "SELECT event, due, step, trigger FROM delivery ORDER BY event")


def test_resending_ignores_filters_and_counts_on(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/", event_types=("other.type",), channels=("vip",))
    event = emit(db)
    assert resend(db, "acme", event.id, endpoint.id, NOW) is True
    assert pending(db) == [(1, NOW, 0, "manual")]
    attempt(db)
    assert resend(db, "acme", event.id, endpoint.id, NOW) is True
    assert take(db).deliveries[0].number == 2


def test_resending_what_is_pending_takes_no_step_of_the_schedule_away(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/")
    event = emit(db)
    attempt(db, ok=False, next_due=NOW + MINUTE)
    attempt(db, ok=False, at=NOW + MINUTE, next_due=NOW + 10 * MINUTE)
    for minute in (2, 3):
        assert resend(db, "acme", event.id, endpoint.id, NOW + minute * MINUTE)
        assert pending(db) == [(1, NOW + minute * MINUTE, 1, "manual")]
        attempt(db, ok=False, at=NOW + minute * MINUTE, next_due=NOW + 10 * MINUTE)
        assert pending(db) == [(1, NOW + 10 * MINUTE, 2, "scheduled")]


def test_resending_during_an_attempt_delivers_once_more(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/")
    event = emit(db)
    (delivery,) = take(db).deliveries
    resend(db, "acme", event.id, endpoint.id, NOW + 2000)
    record(db, outcome(delivery), disable_after=0)
    (again,) = take(db, now=NOW + 2000).deliveries
    assert again.number == 2
    record(db, outcome(again), disable_after=0)
    assert pending(db) == []


def test_nobody_resends_what_belongs_to_others(db: sqlite3.Connection) -> None:
    mine, theirs = add_endpoint(db, "https://example.com/"), add_endpoint(db, "https://example.com/", tenant="other")
    event, foreign = emit(db), emit(db, tenant="other")
    db.execute("DELETE FROM delivery")
    for event_id, endpoint_id in (
        (event.id, theirs.id),
        (foreign.id, mine.id),
        (foreign.id, theirs.id),
        (event.id, "ep_none"),
        ("msg_none", mine.id),
    ):
        assert resend(db, "acme", event_id, endpoint_id, NOW) is False
    assert pending(db) == []


def test_a_disabled_endpoint_gets_nothing_again_and_the_error_tells_why(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/", disabled=True)
    event = emit(db)
    with pytest.raises(Conflict, match="Enable it first"):
        resend(db, "acme", event.id, endpoint.id, NOW)
    with pytest.raises(Conflict, match="Enable it first"):
        run_recover(db, endpoint, missing=True)


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


def test_recovering_keeps_to_its_window_and_tenant(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/")
    emit(db)
    attempt(db, ok=False)
    assert run_recover(db, endpoint, since=NOW + 10 * MINUTE) == 0
    assert run_recover(db, endpoint, since=NOW - 120 * MINUTE, until=NOW - 60 * MINUTE) == 0
    assert run_recover(db, endpoint, tenant="other") is None
    assert run_recover(db, endpoint) == 1


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


# Lists and figures


def history(db: sqlite3.Connection, *outcomes: tuple[bool, int], tenant: str = "acme") -> None:
    for place, (ok, status) in enumerate(outcomes):
        emit(db, tenant=tenant, type="invoice.paid" if place % 2 else "other.type")
        attempt(db, ok=ok, at=NOW + 1000 + place * 1000, status=status)


def ids(db: sqlite3.Connection, tenant: str = "acme", **query: Any) -> list[str]:
    """All pages one after the other."""
    found: list[str] = []
    cursor = None
    while True:
        page = list_attempts(db, tenant, AttemptQuery(**query, cursor=cursor))
        found += [one.id for one in page.items]
        assert page.done is (page.next_cursor is None)
        if page.next_cursor is None:
            return found
        cursor = page.next_cursor


@pytest.mark.parametrize("limit", [1, 3, 250])
def test_attempts_are_listed_newest_first_page_by_page(db: sqlite3.Connection, limit: int) -> None:
    endpoint = add_endpoint(db, "https://example.com/")
    history(db, (True, 200), (False, 500), (True, 204), (False, 404), (False, 503), (True, 200))
    every = [row[0] for row in rows(db, "SELECT id FROM attempt ORDER BY id DESC")]
    assert ids(db, limit=limit) == ids(db, limit=limit, endpoint_id=endpoint.id) == every
    assert ids(db, limit=limit, status="success") == [every[0], every[3], every[5]]
    assert ids(db, limit=limit, status="fail", status_code_class=5) == [every[1], every[4]]
    assert ids(db, limit=limit, event_types=("invoice.paid",)) == every[0::2]
    assert ids(db, limit=limit, status_code_class=0) == []


def test_attempts_are_listed_by_event(db: sqlite3.Connection) -> None:
    one, two = add_endpoint(db, "https://example.com/1"), add_endpoint(db, "https://example.com/2")
    event, other = emit(db), emit(db)
    for delivery in take(db).deliveries:
        record(db, outcome(delivery, ok=delivery.endpoint == 1), disable_after=0)
    assert len(ids(db, event_id=event.id, limit=1)) == 2
    (success,) = list_attempts(db, "acme", AttemptQuery(event_id=event.id, status="success")).items
    assert (success.event_id, success.endpoint_id) == (event.id, one.id)
    assert len(ids(db, event_id=other.id, endpoint_id=two.id)) == 1
    assert ids(db, event_id="msg_none") == []


def test_attempts_are_listed_between_two_times(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/")
    history(db, (True, 200), (True, 200), (True, 200))
    newest, middle, oldest = ids(db)
    times = [one.timestamp for one in list_attempts(db, "acme", AttemptQuery()).items]
    # To 4 ms, which is what ids hold.
    after_oldest, after_middle = times[2] + timedelta(milliseconds=500), times[1] + timedelta(milliseconds=500)
    assert ids(db, after=after_oldest) == [newest, middle]
    assert ids(db, before=after_oldest) == [oldest]
    assert ids(db, after=after_oldest, before=after_middle) == [middle]


def test_nobody_sees_the_attempts_of_others(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/", tenant="other")
    history(db, (True, 200), tenant="other")
    event_id = list_attempts(db, "other", AttemptQuery()).items[0].event_id
    assert ids(db) == ids(db, endpoint_id=endpoint.id) == ids(db, event_id=event_id) == []
    assert stats(db, "acme", endpoint.id, datetime.now(UTC), datetime.now(UTC)) is None


@pytest.mark.parametrize(
    "cursor", ["", "x", "msg_2xYbnVn4gvBVd3z7qjHqSAPrGvi", "atmpt_'; DROP TABLE attempt", "atmpt_"]
)
def test_a_malformed_cursor_is_refused(db: sqlite3.Connection, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="nextCursor"):
        list_attempts(db, "acme", AttemptQuery(cursor=cursor))


def test_a_rare_filter_ends_the_page_early_and_goes_on(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_LOOKED_AT", 2)
    add_endpoint(db, "https://example.com/")
    history(db, (True, 204), (True, 200), (True, 200), (True, 200), (True, 200))
    page = list_attempts(db, "acme", AttemptQuery(event_types=("no.such",)))
    assert (list(page.items), page.done) == ([], False)
    assert len(ids(db, event_types=("other.type",))) == 3


def test_figures_are_counted_by_the_hour(db: sqlite3.Connection) -> None:
    endpoint = add_endpoint(db, "https://example.com/")
    hour = 3_600_000
    start = NOW - NOW % hour + hour
    for at, ok in ((start, True), (start + 1, False), (start + hour, True), (start + 3 * hour, True)):
        emit(db)
        (delivery,) = take(db, now=at).deliveries
        record(db, outcome(delivery, ok=ok, at=at), disable_after=0)
    emit(db)
    since = datetime.fromtimestamp((start + 5) / 1000, UTC)
    figures = stats(db, "acme", endpoint.id, since, since + timedelta(hours=2))
    assert figures is not None
    assert (figures.success, figures.fail, figures.pending) == (2, 1, 1)
    assert [(round(at.timestamp() * 1000), *counts) for at, *counts in figures.buckets] == [
        (start, 1, 1),
        (start + hour, 1, 0),
    ]


def test_headers_are_stored_as_json_and_read_back(db: sqlite3.Connection) -> None:
    add_endpoint(db, "https://example.com/", headers={"X-Größe": "ä"})
    emit(db)
    assert take(db).deliveries[0].headers == {"X-Größe": "ä"}
    assert json.loads(rows(db, "SELECT headers FROM endpoint")[0][0]) == {"X-Größe": "ä"}
