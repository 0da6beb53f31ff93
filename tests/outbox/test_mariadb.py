"""A host on MariaDB, with sync sessions and connections of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from starlette_webhooks import Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.events import EventQuery
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.outbox.drain import Drain, OutboxFigures
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.testing import EmittedEvents
from tests.eventually import eventually
from tests.mariadb import is_installed, starting_mariadb
from tests.outbox.kills import kill_hosts


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    if not is_installed():
        pytest.skip("No MariaDB: install Debian's package `mariadb-server`.")
    with starting_mariadb() as url:
        engine = create_engine(url)
        yield engine
        engine.dispose()


def waiting(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT id FROM webhooks_outbox ORDER BY created_at, id")).scalars())


@pytest.mark.slow  # It starts a server.
async def test_a_host_on_mariadb(engine: Engine, settings: WebhooksSettings) -> None:
    outbox = Outbox(engine)
    outbox.metadata.create_all(engine)
    webhooks = Webhooks(
        event_types=["order.created"], settings=settings, backend=MemoryBackend(settings), outbox=outbox
    )
    emitter = webhooks.emitter("acme")
    with Session(engine) as session:
        emitter.emit("order.created", within=session)
        session.rollback()
        # A plain BLOB holds 64 KB.
        large = emitter.emit("order.created", {"text": "ü" * 100_000}, within=session).event
        with session.begin_nested() as savepoint:
            emitter.emit("order.created", within=session)
            savepoint.rollback()
        session.commit()
    with engine.connect() as connection:
        many = emitter.emit_many([("order.created", {})] * 3, within=connection).events
        connection.commit()
    events = [large, *many]
    assert waiting(engine) == [event.id for event in events]

    # Tenants that differ in case are two.
    with Session(engine) as session:
        kept = webhooks.emitter("Acme").emit("order.created", within=session).event
        session.commit()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO webhooks_outbox (id, tenant, body) VALUES ('broken', 'acme', 'x')"))
    drain = Drain(outbox)
    async with webhooks.lifespan():

        async def moved() -> bool:
            page = await webhooks.backend.list_events("acme", EventQuery())
            return list(reversed(page.items)) == events

        await eventually(moved)
        await eventually(lambda: waiting(engine) == [])
        assert await webhooks.backend.get_event("Acme", kept.id) == kept
        assert [(dead.id, dead.event) for dead in await drain.dead_letters(tenant="acme")] == [("broken", None)]
        assert await drain.dead_letters(tenant="Acme") == []
        assert await drain.discard(["another"]) == 0
        assert not await drain.lease()
    assert await drain.lease()
    assert await drain.redrive(ids=["broken"]) == 1
    found = await drain.figures()
    assert (found.waiting, found.dead_lettered) == (1, 0)
    assert 0 < found.late < 60
    await drain.erase("ACME")
    assert (await drain.figures()).waiting == 1
    await drain.erase("acme")
    assert await drain.figures() == OutboxFigures(0, 0.0, 0)


@pytest.mark.parametrize("by", ["session", "connection"])
def test_a_transaction_in_two_phases(
    engine: Engine, settings: WebhooksSettings, emitted_webhooks: EmittedEvents, by: str
) -> None:
    outbox = Outbox(engine)
    outbox.metadata.create_all(engine)
    webhooks = Webhooks(
        event_types=["order.created"], settings=settings, backend=MemoryBackend(settings), outbox=outbox
    )
    emitter = webhooks.emitter("acme")
    ids = []
    if by == "session":
        with Session(engine, twophase=True) as session:
            emitter.emit("order.created", within=session)
            session.rollback()
            ids.append(emitter.emit("order.created", within=session).event.id)
            session.prepare()
            with pytest.raises(RuntimeError, match="is being committed"):
                emitter.emit("order.created", within=session)
            emitted_webhooks.assert_nothing_emitted()
            session.commit()
    else:
        with engine.connect() as connection:
            with connection.begin():
                ids.append(emitter.emit("order.created", within=connection).event.id)
            with connection.begin_twophase() as rejected:
                emitter.emit("order.created", within=connection)
                rejected.rollback()
            with connection.begin_twophase() as transaction:
                ids.append(emitter.emit("order.created", within=connection).event.id)
                transaction.prepare()
                assert [event.id for event in emitted_webhooks] == ids[:1]
                transaction.commit()
    assert waiting(engine) == ids == [event.id for event in emitted_webhooks]
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM webhooks_outbox"))


@pytest.mark.slow  # Each of its processes connects to its databases.
async def test_orders_and_events_agree_whenever_the_process_dies(engine: Engine, tmp_path: Path) -> None:
    host = engine.url.render_as_string(hide_password=False)
    outcome = await kill_hosts(host, str(tmp_path / "log.db"), "webhooks", 10)
    assert outcome.orders > 10
    assert (outcome.lost, outcome.invented, outcome.doubled, outcome.undelivered) == (0, 0, 0, 0)


def test_what_commits_by_itself_is_refused(engine: Engine, settings: WebhooksSettings) -> None:
    alone = create_engine(engine.url, isolation_level="AUTOCOMMIT")
    webhooks = Webhooks(
        event_types=["order.created"], settings=settings, backend=MemoryBackend(settings), outbox=Outbox(alone)
    )
    with alone.connect() as connection, pytest.raises(RuntimeError, match="autocommit"):
        webhooks.emitter("acme").emit("order.created", within=connection)
    alone.dispose()
