"""Hosts with their tables in the database of the PostgreSQL backend: no configuration, and any process moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import asyncpg
import psycopg
import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from starlette_webhooks import Webhooks
from starlette_webhooks.events import EventQuery
from starlette_webhooks.identifiers import mint
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.outbox.rows import to_row
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.testing import EmittedEvents
from tests.eventually import eventually

MakeWebhooks = Callable[[], Webhooks]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(postgresql_url: str, migrated_schema: str) -> MakeWebhooks:
    """Makes a `Webhooks`, as each process has one."""
    settings = WebhooksSettings(
        database=postgresql_url, database_schema=migrated_schema, handle_signals=False, deliver=False
    )
    return lambda: Webhooks(event_types=["order.created"], settings=settings)


@pytest.fixture
def engine(postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(postgresql_url.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    engine.dispose()


async def logged(webhooks: Webhooks, *expected: str) -> None:
    async def there() -> bool:
        page = await webhooks.backend.list_events("acme", EventQuery(limit=250))
        return [event.id for event in reversed(page.items)] == list(expected)

    await eventually(there)


def commit(webhooks: Webhooks, engine: Engine, number: int = 1) -> list[str]:
    with Session(engine) as session:
        many = webhooks.emitter("acme").emit_many([("order.created", {"n": n}) for n in range(number)], within=session)
        session.commit()
    return [event.id for event in many.events]


async def test_events_are_moved_without_an_outbox_to_configure(
    make: MakeWebhooks, engine: Engine, postgresql_url: str, emitted_webhooks: EmittedEvents
) -> None:
    webhooks = make()
    async with webhooks.lifespan():
        with Session(engine) as session:
            webhooks.emitter("acme").emit("order.created", within=session)
            session.rollback()
        ids = commit(webhooks, engine, 3)
        with psycopg.connect(postgresql_url) as connection:
            sent = webhooks.emitter("acme").emit(
                "order.created", {"ü": "\x1f"}, event_id="order-1", channels=["north", "south"], within=connection
            )
        ids.append(sent.event.id)
        await logged(webhooks, *ids)
        stored = (await webhooks.backend.list_events("acme", EventQuery())).items
        assert stored[0] == sent.event
        # The one of the driver is known to be committed once it was moved.
        await eventually(lambda: sorted(event.id for event in emitted_webhooks) == sorted(ids))


async def test_several_processes_move_each_event_once_and_in_order(make: MakeWebhooks, engine: Engine) -> None:
    first, second = make(), make()
    async with first.lifespan(), second.lifespan():
        ids = [id for n in range(6) for id in commit((first, second)[n % 2], engine, 5)]
        await logged(first, *ids)


async def test_a_row_that_cannot_be_read_delays_no_other(
    make: MakeWebhooks, engine: Engine, migrated_schema: str, postgresql_url: str
) -> None:
    webhooks = make()
    async with webhooks.lifespan():
        with psycopg.connect(postgresql_url) as connection:
            # A row of a newer version of the package is left for that version.
            head = json.dumps({"v": 2}, separators=(",", ":")).encode() + b"\n{}"
            whole = {"v": 1, "type": "a.b", "event_id": "evt_1", "channels": "", "time": 1_700_000_000_000}
            lacking = {mint("msg_"): name for name in whole if name != "v"}
            incomplete = [
                (id, json.dumps({key: value for key, value in whole.items() if key != name}, separators=(",", ":")))
                for id, name in lacking.items()
            ]
            for id, body in (
                ("broken", b"\x00"),
                ("incomplete", b'{"v":1,"type":"x"}\n{}'),
                ("newer", head),
                *((id, line.encode() + b"\n{}") for id, line in incomplete),
            ):
                connection.execute(
                    f"INSERT INTO {migrated_schema}.outbox (id, tenant, body) VALUES (%s, 'acme', %s)", (id, body)
                )
        ids = commit(webhooks, engine, 2)
        await logged(webhooks, *ids)
        with psycopg.connect(postgresql_url) as connection:
            rows = connection.execute(f"SELECT id FROM {migrated_schema}.outbox_dead_letter ORDER BY id").fetchall()
            assert sorted(id for (id,) in rows) == sorted(["broken", "incomplete", *lacking])
            assert connection.execute(f"SELECT id FROM {migrated_schema}.outbox").fetchall() == [("newer",)]
        await webhooks.erase("acme")
        with psycopg.connect(postgresql_url) as connection:
            assert connection.execute(f"SELECT id FROM {migrated_schema}.outbox").fetchall() == []


async def test_the_same_table_by_an_engine_is_moved_by_the_backend(
    make: MakeWebhooks, engine: Engine, postgresql_url: str, migrated_schema: str
) -> None:
    settings = make().settings
    outbox = Outbox(engine, schema=migrated_schema)
    webhooks = Webhooks(event_types=["order.created"], settings=settings, outbox=outbox)
    async with webhooks.lifespan():
        await logged(webhooks, *commit(webhooks, engine))
        assert webhooks.health()["hostOutbox"]["here"]
        with psycopg.connect(postgresql_url) as connection:
            # A relay would hold its lease there.
            relay = connection.execute("SELECT to_regclass(%s)", (f"{migrated_schema}.outbox_relay",)).fetchone()
        assert relay == (None,)


async def test_a_database_with_two_names_is_said_to_be_one(
    make: MakeWebhooks, postgresql_url: str, migrated_schema: str
) -> None:
    named = postgresql_url.replace("127.0.0.1", "localhost")
    alias = create_engine(named.replace("postgresql://", "postgresql+psycopg://"))
    webhooks = make()
    with pytest.raises(RuntimeError, match=r"Outbox\(engine, other_engine\)"):
        commit(webhooks, alias)
    outbox = Outbox(postgresql_url, alias, schema=migrated_schema)
    webhooks = Webhooks(event_types=["order.created"], settings=webhooks.settings, outbox=outbox)
    async with webhooks.lifespan():
        await logged(webhooks, *commit(webhooks, alias))
    alias.dispose()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_rows_of_drivers_are_moved_soon(make: MakeWebhooks, postgresql_url: str) -> None:
    webhooks = make()
    async with webhooks.lifespan():
        connection = await asyncpg.connect(postgresql_url)
        async with connection.transaction():
            event = await webhooks.emitter("acme").send("order.created", within=connection)
        await connection.close()
        await logged(webhooks, event.id)


async def test_a_trace_context_is_stored_with_its_event_and_anything_else_is_left_out(
    make: MakeWebhooks, postgresql_url: str, migrated_schema: str
) -> None:
    webhooks, trace = make(), f"00-{'a' * 32}-{'b' * 16}-01"
    # Rows of other code may contain anything there, such as what separates the contexts of a batch.
    given = [trace, None, 5, "\x1f", f"{trace}\x1f{trace}", {"trace": trace}, f"{trace}\n", trace]
    events = [webhooks.emitter("acme").prepare("order.created", {"n": n}) for n in range(len(given))]
    async with webhooks.lifespan():
        with psycopg.connect(postgresql_url) as connection:
            for event, found in zip(events, given, strict=True):
                head, _, payload = to_row(event).body.partition(b"\n")
                line = json.dumps({**json.loads(head), "trace": found}, separators=(",", ":")).encode()
                values = (event.id, event.tenant, line + b"\n" + payload)
                connection.execute(
                    f"INSERT INTO {migrated_schema}.outbox (id, tenant, body) VALUES (%s, %s, %s)", values
                )
        await logged(webhooks, *sorted(event.id for event in events))
        with psycopg.connect(postgresql_url) as connection:
            rows = connection.execute(f"SELECT id, trace FROM {migrated_schema}.event").fetchall()
        stored: dict[str, str | None] = dict(rows)
    assert [stored[event.id] for event in events] == [trace, *[None] * 6, trace]
