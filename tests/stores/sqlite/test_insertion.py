"""Inserting many events together has the same effect as inserting each of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from starlette_webhooks.events import Event
from starlette_webhooks.payloads import new_event
from starlette_webhooks.stores.sqlite.insertion import Inserted, Insertion
from starlette_webhooks.stores.sqlite.queries import read_sql
from tests.delivery.delivering import add_endpoint
from tests.stores.sqlite.queueing import rows

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DELIVERIES = "SELECT event, endpoint, due, stamped, urgent, trigger FROM delivery ORDER BY event, endpoint"


def make(count: int, *, traced: bool) -> list[Event]:
    events = [
        new_event(("a.b", "c.d")[number % 2], {"n": number}, tenant=("acme", "globex", "initech")[number % 3])
        for number in range(count)
    ]
    return [replace(event, trace=TRACE) if traced and number % 5 == 0 else event for number, event in enumerate(events)]


def database() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(read_sql("schema.sql"))
    add_endpoint(db, "https://example.com/all")
    add_endpoint(db, "https://example.com/some", event_types=("a.b",))
    add_endpoint(db, "https://example.com/other", tenant="globex")
    return db


def endpoints(inserted: Sequence[Inserted]) -> set[int]:
    return {endpoint for one in inserted for queued in one.queued for endpoint in queued.endpoints}


@pytest.mark.parametrize("traced", [False, True])
def test_events_of_many_insertions_are_stored_and_queued_as_if_each_came_alone(traced: bool) -> None:
    # More than fit into one statement.
    events = make(150, traced=traced)
    insertions = [Insertion(events[:1]), Insertion(events[1:4]), Insertion(events[4:149]), Insertion(events[149:])]
    with closing(database()) as apart, closing(database()) as together:
        for db in (apart, together):
            # Earlier events, so that numbers and positions differ.
            Insertion([new_event("a.b", tenant="acme"), new_event("c.d", tenant="initech")])(db)
        expected = [insertion(apart) for insertion in insertions]
        found = Insertion.run_together(together, insertions)
        tables: list[Any] = [rows(db, DELIVERIES)[2:] for db in (apart, together)]
        assert tables[0] == tables[1] != []
        assert [list(one.positions) for one in found] == [list(one.positions) for one in expected]
        assert [one.events for one in found] == [insertion.events for insertion in insertions]
        assert endpoints(found) == endpoints(expected) == {1, 2, 3}
        (queued,) = {id(one): one for each in found for one in each.queued}.values()
        numbers = [number for (number,) in rows(together, "SELECT id FROM delivery ORDER BY id")]
        assert (queued.first, queued.last) == (numbers[2], numbers[-1])
        stored = [rows(db, "SELECT * FROM event WHERE seq > 2 ORDER BY seq") for db in (apart, together)]
        assert stored[0] == stored[1]
