"""Triggers that refuse rows, end sessions or ask to try again, and connections that are lost during a call."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import anyio
import psycopg
import pytest
from anyio import to_thread

from starlette_webhooks.exceptions import BackendError, BackendRefused, BackendUnavailable, NotRunning
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.stores.postgresql.connection import CallLost, Link
from starlette_webhooks.stores.postgresql.conninfo import parse_url
from starlette_webhooks.stores.postgresql.outbox import PostgreSQLOutbox
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from starlette_webhooks.submissions import Submission
from tests.eventually import eventually, wait_for
from tests.forking import in_child
from tests.postgresql import delaying
from tests.scarcity import no_free_threads
from tests.stores.contract import add, attempts, claim, emit, event, ids, record

TERMINATE = "PERFORM pg_terminate_backend(pg_backend_pid())"
SERIALIZE = "RAISE 'Again.' USING ERRCODE = '40001'"
DENY = "RAISE 'Not you.' USING ERRCODE = '42501'"
REFUSE = "RAISE 'Not this one.'"


@contextmanager
def triggered(
    url: str, schema: str, table: str, action: str, *, when: str = "true", once: bool = False
) -> Generator[None]:
    """Run a statement before each insert into a table, or before the first one only, until the block ends."""
    # A sequence is not rolled back.
    condition = f"nextval('{schema}.triggered') = 1" if once else "true"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE SEQUENCE {schema}.triggered")
        admin.execute(
            f"CREATE FUNCTION {schema}.act() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$BEGIN IF {condition} THEN {action}; END IF; RETURN NEW; END$$"
        )
        admin.execute(
            f"CREATE TRIGGER act BEFORE INSERT ON {schema}.{table} FOR EACH ROW WHEN ({when}) "
            f"EXECUTE FUNCTION {schema}.act()"
        )
        yield


def make_outbox(url: str, schema: str, **options: float) -> PostgreSQLOutbox:
    return PostgreSQLOutbox(
        url, clock=time.time, retention=60, max_events=100, max_bytes=1_000_000, schema=schema, **options
    )


async def outcomes(submissions: list[Submission]) -> list[str]:
    """Return the error of each, or an empty text."""
    found = []
    for submission in submissions:
        try:
            await submission.wait()
        except BackendError as exc:
            found.append(str(exc))
        else:
            found.append("")
    return found


async def test_event_that_a_trigger_refuses_fails_alone(postgresql_url: str, postgresql_schema: str) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema)
    async with store.lifespan():
        with triggered(postgresql_url, postgresql_schema, "event", REFUSE, when="NEW.type = 'bad.one'"):
            events = [event(type="good.one"), event(type="bad.one"), event(type="good.two")]
            # Of one batch, as nothing runs in between.
            found = await outcomes([store.submit([one]) for one in events])
        assert [bool(error) for error in found] == [False, True, False]
        assert "Not this one" in found[1]
        assert sorted(await ids(store)) == sorted([events[0].id, events[2].id])


async def test_event_for_svix_that_a_trigger_refuses_fails_alone(postgresql_url: str, postgresql_schema: str) -> None:
    outbox = make_outbox(postgresql_url, postgresql_schema)
    async with outbox.lifespan(lambda fresh: None):
        with triggered(postgresql_url, postgresql_schema, "svix_outbox", REFUSE, when="NEW.type = 'bad.one'"):
            events = [event(type="good.one"), event(type="bad.one"), event(type="good.two")]
            found = await outcomes([outbox.submit([one]) for one in events])
        assert [bool(error) for error in found] == [False, True, False]
        assert (await outbox.counts()).waiting == 2


ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""For tests that wait for a deadline."""


@ONE_LOOP
async def test_event_for_svix_of_which_no_answer_arrives_in_time_is_in_doubt(
    postgresql_url: str, postgresql_schema: str
) -> None:
    outbox = make_outbox(postgresql_url, postgresql_schema, deadline=1)
    async with outbox.lifespan(lambda fresh: None):
        # From here on, there is a connection to lose.
        await eventually(partial(stored, outbox))
        with triggered(postgresql_url, postgresql_schema, "svix_outbox", TERMINATE):
            with pytest.raises(BackendUnavailable, match="It is unknown whether the outbox has the event"):
                await outbox.submit([event()]).wait()


async def stored(outbox: PostgreSQLOutbox) -> bool:
    return await outcomes([outbox.submit([event()])]) == [""]


async def test_event_for_svix_is_stored_although_its_session_was_ended_once(
    postgresql_url: str, postgresql_schema: str
) -> None:
    outbox = make_outbox(postgresql_url, postgresql_schema, deadline=10)
    async with outbox.lifespan(lambda fresh: None):
        with triggered(postgresql_url, postgresql_schema, "svix_outbox", TERMINATE, once=True):
            await outbox.submit([event()]).wait()
        assert (await outbox.counts()).waiting == 1


@pytest.mark.parametrize("action", [TERMINATE, SERIALIZE])
async def test_attempt_is_recorded_once_although_its_first_record_was_lost(
    postgresql_url: str, postgresql_schema: str, action: str
) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema, deadline=10)
    async with store.lifespan():
        await add(store)
        await emit(store)
        (delivery,) = (await claim(store)).deliveries
        with triggered(postgresql_url, postgresql_schema, "attempt", action, once=True):
            await record(store, delivery)
        assert len(await attempts(store)) == 1


@ONE_LOOP
async def test_attempt_that_is_lost_until_the_deadline_is_not_recorded(
    postgresql_url: str, postgresql_schema: str
) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema, deadline=1)
    async with store.lifespan():
        await add(store)
        await emit(store)
        (delivery,) = (await claim(store)).deliveries
        with triggered(postgresql_url, postgresql_schema, "attempt", TERMINATE), pytest.raises(BackendUnavailable):
            await record(store, delivery)


async def test_attempt_that_the_role_may_not_record_fails_with_the_servers_words(
    postgresql_url: str, postgresql_schema: str
) -> None:
    store = PostgreSQLStore(postgresql_url, schema=postgresql_schema)
    async with store.lifespan():
        await add(store)
        await emit(store)
        (delivery,) = (await claim(store)).deliveries
        with triggered(postgresql_url, postgresql_schema, "attempt", DENY):
            with pytest.raises((BackendRefused, BackendUnavailable), match="Not you"):
                await record(store, delivery)


# Connections


def test_a_call_without_a_thread_for_its_cancellation_ends_in_time(postgresql_url: str) -> None:
    link = Link(parse_url(postgresql_url))
    link.call("SELECT 1", deadline=time.monotonic() + 10)
    began = time.monotonic()
    with no_free_threads(), pytest.raises(CallLost):
        link.call("SELECT pg_sleep(60)", deadline=time.monotonic() + 0.2)
    assert time.monotonic() - began < 30
    assert not link.is_open


def test_a_connection_that_is_not_open_has_no_notifications(postgresql_url: str) -> None:
    link = Link(parse_url(postgresql_url))
    with pytest.raises(CallLost):
        link.notifications()
    with pytest.raises(CallLost):
        link.fileno()


@ONE_LOOP
async def test_a_process_that_listens_ends_although_its_server_is_out_of_reach(
    postgresql_url: str, migrated_schema: str
) -> None:
    with delaying(postgresql_url, 0) as (url, proxy):
        store = PostgreSQLStore(postgresql_url, schema=migrated_schema, listen_url=url, deadline=1)
        with anyio.fail_after(20):
            async with store.lifespan():
                await eventually(lambda: store.health().get("hints"))
                proxy.black = True


# The lease of the relay


async def test_a_lease_that_cannot_be_renewed_is_given_up(postgresql_url: str, postgresql_schema: str) -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    outbox = make_outbox(postgresql_url, postgresql_schema)
    async with outbox.lifespan(lambda fresh: None):
        lock = outbox.lock(TimeSource(sleep=sleep, monotonic=lambda: now))
        await lock.acquire()
        rename_relay(postgresql_url, postgresql_schema)
        with pytest.raises(BackendUnavailable, match="The lease of the relay could not be renewed"):
            await lock.keep()
        assert not lock.held


async def test_a_lease_that_cannot_be_released_ends_by_itself(
    postgresql_url: str, postgresql_schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = make_outbox(postgresql_url, postgresql_schema)
    async with outbox.lifespan(lambda fresh: None):
        lock = outbox.lock(TimeSource(monotonic=lambda: 0.0))
        await lock.acquire()
        rename_relay(postgresql_url, postgresql_schema)
        await lock.release()
        assert "The next process must wait until the lease of the relay ends" in caplog.text
        assert not lock.held


def rename_relay(url: str, schema: str) -> None:
    """Let calls about the lease fail."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"ALTER TABLE {schema}.relay RENAME TO hidden")


async def test_a_lease_that_ended_while_the_process_was_suspended_is_not_kept(
    postgresql_url: str, migrated_schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    outbox = make_outbox(postgresql_url, migrated_schema)
    async with outbox.lifespan(lambda fresh: None):
        lock = outbox.lock(TimeSource(monotonic=lambda: now))
        await lock.acquire()
        now = 3600.0
        await lock.keep()
        assert "this one was suspended for too long" in caplog.text


def test_a_connection_that_opens_after_it_was_given_up_is_closed(postgresql_url: str) -> None:
    with delaying(postgresql_url, 0.05) as (url, _):
        link = Link(parse_url(f"{url}?application_name=given_up"))
        with pytest.raises(BackendUnavailable, match="has not answered in time"):
            link.call("SELECT 1", deadline=time.monotonic() + 0.01)
        link.close()
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'given_up'"
        with psycopg.connect(postgresql_url, autocommit=True) as admin:
            wait_for(lambda: admin.execute(sessions).fetchone() == (0,))


# The outbox for Svix


async def test_what_svix_made_of_a_payload_is_what_the_outbox_has(postgresql_url: str, migrated_schema: str) -> None:
    outbox = make_outbox(postgresql_url, migrated_schema)
    async with outbox.lifespan(lambda fresh: None):
        sent = event()
        await outbox.submit([sent]).wait()
        lock = outbox.lock(TimeSource())
        await lock.acquire()
        (entry,) = await outbox.next("acme", 1)
        stored_there = replace(sent, id="msg_1", payload=b'{"data":{"sorted":"keys"}}')
        await (await outbox.accept(entry, stored_there, check_at=None)).wait()
        found = await outbox.find("acme", sent.event_id)
        assert found is not None
        assert (found.event.id, found.event.payload) == ("msg_1", stored_there.payload)
        assert await outbox.dead_letter_tenants(["1"]) == {}
        await lock.release()


async def test_in_a_forked_child_the_outbox_accepts_nothing(postgresql_url: str, migrated_schema: str) -> None:
    outbox = make_outbox(postgresql_url, migrated_schema)

    def child() -> int:
        try:
            outbox.submit([event()])
        except NotRunning:
            return 40
        return 1

    async with outbox.lifespan(lambda fresh: None):
        assert await to_thread.run_sync(in_child, child) == 40
        await outbox.submit([event()]).wait()
        assert (await outbox.counts()).waiting == 1
