"""A host on MariaDB, with sync sessions and connections of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from starlette_webhooks import Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.events import EventQuery
from starlette_webhooks.outbox import Drain, Outbox
from starlette_webhooks.settings import WebhooksSettings
from tests.eventually import eventually
from tests.mariadb import is_installed, starting_mariadb


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
        assert [dead.row.id for dead in await drain.dead_letters(10)] == ["broken"]
        assert not await drain.lease()
    assert await drain.lease()
    await drain.redrive()
    assert await drain.counts() == (1, 0)
    await drain.erase("ACME")
    assert await drain.counts() == (1, 0)
    await drain.erase("acme")
    assert await drain.counts() == (0, 0)


def test_what_commits_by_itself_is_refused(engine: Engine, settings: WebhooksSettings) -> None:
    alone = create_engine(engine.url, isolation_level="AUTOCOMMIT")
    webhooks = Webhooks(
        event_types=["order.created"], settings=settings, backend=MemoryBackend(settings), outbox=Outbox(alone)
    )
    with alone.connect() as connection, pytest.raises(RuntimeError, match="autocommit"):
        webhooks.emitter("acme").emit("order.created", within=connection)
    alone.dispose()
