"""The log: its order, its pages, its guarantees, and retention."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.events import EventQuery
from starlette_webhooks.feed import StreamFilter
from starlette_webhooks.payloads import new_event
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.stores.sqlite import log
from starlette_webhooks.stores.sqlite.database import Database
from starlette_webhooks.stores.sqlite.insertion import Insertion
from tests.clock import Clock

TYPES = EventTypes(["a.b", "c.d", "e.f"])


def insert(connection: sqlite3.Connection, count: int, event_type: str = "a.b", **options: Any) -> list[str]:
    events = [new_event(event_type, {"n": n}, tenant=options.pop("tenant", "acme"), **options) for n in range(count)]
    return [entry.event.id for entry in Insertion(events)(connection).entries]


def plan(connection: sqlite3.Connection, tenant: str, query: EventQuery) -> list[str]:
    """Return the query plan of a list, by tracing the statement that SQLite runs."""
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    log.list_events(connection, tenant, query)
    connection.set_trace_callback(None)
    (statement,) = [each for each in statements if each.lstrip().startswith("SELECT")]
    return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement)]


async def test_every_filter_of_the_list_is_a_seek_and_never_a_scan_of_the_log(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))
    queries = [
        EventQuery(),
        EventQuery(event_types=("a.b",)),
        EventQuery(event_types=("a.b", "c.d", "e.f")),
        EventQuery(channel="eu"),
        EventQuery(channel="eu", event_types=("a.b", "c.d")),
        EventQuery(before=datetime.now(UTC), after=datetime(2026, 1, 1, tzinfo=UTC)),
    ]
    async with database.lifespan():
        await database.write(lambda connection: insert(connection, 5))
        for query in queries:
            steps = await database.write(lambda connection, query=query: plan(connection, "acme", query))  # type: ignore[misc]
            assert not [step for step in steps if step.startswith("SCAN event")], steps
            assert [step for step in steps if "SEARCH" in step and "tenant=?" in step], steps


async def test_rare_types_are_found_without_reading_the_common_ones(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))

    def count_work(connection: sqlite3.Connection) -> int:
        steps = 0

        def step() -> int:
            nonlocal steps
            steps += 1
            return 0

        connection.set_progress_handler(step, 1)
        log.list_events(connection, "acme", EventQuery(event_types=("c.d", "e.f")))
        connection.set_progress_handler(None, 0)
        return steps

    async with database.lifespan():
        await database.write(lambda connection: insert(connection, 3, "c.d"))
        await database.write(lambda connection: insert(connection, 50))
        few = await database.read(count_work)
        await database.write(lambda connection: insert(connection, 5000))
        many = await database.read(count_work)
        assert many <= few * 1.1, "the work does not grow with the events of other types"


async def test_a_position_is_never_reused_even_after_the_log_was_emptied(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))
    async with database.lifespan():
        await database.write(lambda connection: insert(connection, 10))
        high = await database.read(log.high_water)
        await database.write(lambda connection: connection.execute("DELETE FROM event").rowcount)
        assert await database.read(log.high_water) == high
        await database.write(lambda connection: insert(connection, 1))
        assert await database.read(log.high_water) == high + 1


async def test_a_page_of_large_events_ends_early_and_the_next_one_continues(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))
    events = [new_event("a.b", {"x": "y" * 1_000_000}, tenant="acme") for _ in range(12)]
    async with database.lifespan():
        await database.write(Insertion(events))
        seen: list[str] = []
        cursor = None
        while True:
            query = EventQuery(limit=250, cursor=cursor)
            page = await database.read(lambda connection, query=query: log.list_events(connection, "acme", query))  # type: ignore[misc]
            assert sum(len(event.payload) for event in page.items) < 11_000_000
            seen += [event.id for event in page.items]
            if page.done:
                break
            cursor = page.next_cursor
    assert seen == [event.id for event in reversed(events)]


async def test_a_replay_is_read_in_pages_with_their_positions(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "a.db"))
    async with database.lifespan():
        await database.write(lambda connection: insert(connection, 120))
        rare = await database.write(lambda connection: insert(connection, 1, "c.d"))
        high = await database.read(log.high_water)
        found, position, pages = [], 0, 0
        while position < high:
            page = await database.read(
                lambda connection, after=position: log.read_replay(  # type: ignore[misc]
                    connection, "acme", StreamFilter(frozenset({"c.d"})), after, high, limit=100
                )
            )
            found += [event.id for event in page.events]
            position, pages = page.position, pages + 1
    assert found == rare
    assert pages == 2


async def test_retention_removes_old_events_with_everything_that_depends_on_them(settings: WebhooksSettings) -> None:
    clock = Clock(speed=0)
    backend = SQLiteBackend(settings.model_copy(update={"deliver": False}), clock=clock)
    async with backend.lifespan(TYPES):
        for _ in range(3):
            await backend.store.database.write(lambda connection: insert(connection, 150, channels=["eu"]))
        await backend.prune()
        assert (await backend.store.database.read(log.high_water)) == 450
        assert len((await backend.list_events("acme", EventQuery(limit=250, channel="eu"))).items) == 250
        clock.advance(31 * 86_400)
        await backend.prune()
        assert (await backend.list_events("acme", EventQuery())).items == []
        assert (await backend.list_events("acme", EventQuery(channel="eu"))).items == []
        (left,) = await backend.store.database.read(
            lambda c: c.execute("SELECT count(*) FROM event_channel").fetchone()
        )
        assert left == 0


async def test_retention_leaves_what_is_still_to_be_delivered(settings: WebhooksSettings) -> None:
    clock = Clock(speed=0)
    backend = SQLiteBackend(settings.model_copy(update={"deliver": False}), clock=clock)
    async with backend.lifespan(TYPES):
        await backend.create_endpoint("acme", EndpointChanges(url="http://127.0.0.1:9/", event_types=("a.b",)))
        await backend.send([new_event("a.b", {}, tenant="acme")])
        await backend.send([new_event("c.d", {}, tenant="acme")])
        clock.advance(31 * 86_400)
        await backend.prune()
        assert [event.type for event in (await backend.list_events("acme", EventQuery())).items] == ["a.b"]


async def test_times_bound_a_list_to_their_tick(settings: WebhooksSettings) -> None:
    backend = SQLiteBackend(settings)
    async with backend.lifespan(TYPES):
        (event,) = await backend.send([new_event("a.b", {}, tenant="acme")])
        tick = timedelta(milliseconds=4)

        async def found(**bounds: Any) -> bool:
            return bool((await backend.list_events("acme", EventQuery(**bounds))).items)

        assert await found(after=event.timestamp)
        assert not await found(after=event.timestamp + tick)
        assert not await found(before=event.timestamp)
        assert await found(before=event.timestamp + tick)


async def test_retention_removes_events_that_wait_only_for_disabled_endpoints(settings: WebhooksSettings) -> None:
    clock = Clock(speed=0)
    backend = SQLiteBackend(settings.model_copy(update={"deliver": False}), clock=clock)
    async with backend.lifespan(TYPES):
        endpoint = await backend.create_endpoint("acme", EndpointChanges(url="http://127.0.0.1:9/"))
        await backend.send([new_event("a.b", {}, tenant="acme")])
        await backend.update_endpoint("acme", endpoint.id, EndpointChanges(disabled=True))
        clock.advance(31 * 86_400)
        await backend.prune()
        assert (await backend.list_events("acme", EventQuery())).items == []
        assert await backend.store.database.read(lambda c: c.execute("SELECT count(*) FROM delivery").fetchone()) == (
            0,
        )
