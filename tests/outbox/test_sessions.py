"""Sessions and connections of SQLAlchemy: what commits, what rolls back, and what is refused with a remedy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from starlette_webhooks import NewEvent, Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.emitter import Emitter
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.testing import EmittedEvents
from tests.forking import in_child

T = TypeVar("T")


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    sku: Mapped[str] = mapped_column(primary_key=True)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database with an outbox."""
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")

    # The transactions that Python begins for SQLite do not include savepoints.
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    Base.metadata.create_all(engine)
    Outbox(engine).metadata.create_all(engine)
    yield engine
    engine.dispose()


def emitter_into(outbox: Outbox) -> Emitter:
    settings = WebhooksSettings()
    webhooks = Webhooks(
        event_types=["order.created"], settings=settings, backend=MemoryBackend(settings), outbox=outbox
    )
    return webhooks.emitter("acme")


@pytest.fixture
def emitter(engine: Engine) -> Emitter:
    return emitter_into(Outbox(engine))


def ids(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT id FROM webhooks_outbox ORDER BY created_at, id")).scalars())


def emit(emitter: Emitter, within: object, sku: str = "one") -> str:
    return emitter.emit("order.created", {"sku": sku}, within=within).event.id


# What commits


async def test_an_event_cannot_be_awaited_before_the_commit(engine: Engine, emitter: Emitter) -> None:
    with Session(engine) as session:
        emission = emitter.emit("order.created", {"sku": "one"}, within=session)
        assert emission.event.event_id == f"evt_{emission.event.id[4:]}"
        with pytest.raises(RuntimeError, match="cannot be awaited"):
            await emission
        with pytest.raises(RuntimeError, match="cannot be awaited"):
            await emitter.emit_many([("order.created", {"sku": "two"})], within=session)


@pytest.mark.parametrize("by", ["session", "connection"])
def test_many_events_are_one_statement(engine: Engine, emitter: Emitter, by: str) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with Session(engine) as session:
        given = [("order.created", {"sku": str(n)}) for n in range(4)]
        within = session if by == "session" else session.connection()
        many = emitter.emit_many([*given, NewEvent("order.created", {}, tenant="other")], within=within)
        emitter.emit_many([], within=within)
        session.commit()
    assert [one[:27] for one in statements if not one.startswith("BEGIN")] == ["INSERT INTO webhooks_outbox"]
    assert ids(engine) == [one.id for one in many.events]


async def test_send_returns_once_the_row_is_in_the_transaction(engine: Engine, emitter: Emitter) -> None:
    with engine.connect() as connection:
        sent = await emitter.send("order.created", {}, within=connection)
        assert list(connection.execute(text("SELECT id FROM webhooks_outbox")).scalars()) == [sent.id]
        many = await emitter.send_many([("order.created", {}), ("order.created", {})], within=connection)
        connection.commit()
    assert ids(engine) == [sent.id, *(one.id for one in many)]


def test_a_registry_of_sessions_is_a_session(engine: Engine, emitter: Emitter) -> None:
    sessions = scoped_session(sessionmaker(engine))
    id = emit(emitter, sessions)
    sessions.commit()
    sessions.remove()
    assert ids(engine) == [id]


async def test_a_registry_of_async_sessions_is_a_session(engine: Engine, anyio_backend: str) -> None:
    other = create_async_engine(f"sqlite+aiosqlite:///{engine.url.database}")
    sessions = async_scoped_session(async_sessionmaker(other), scopefunc=lambda: 1)
    # The outbox is given with another driver than the session's, for the same file.
    id = emit(emitter_into(Outbox(engine)), sessions)
    await sessions.commit()
    await sessions.remove()
    await other.dispose()
    assert ids(engine) == [id]


def test_savepoints_drop_exactly_their_events(
    engine: Engine, emitter: Emitter, emitted_webhooks: EmittedEvents
) -> None:
    with Session(engine) as session:
        outer = emit(emitter, session)
        with session.begin_nested():
            kept = emit(emitter, session)
            with session.begin_nested() as innermost:
                emit(emitter, session)
                innermost.rollback()
        with session.begin_nested() as dropped:
            emit(emitter, session)
            with session.begin_nested():
                emit(emitter, session)
            dropped.rollback()
        last = emit(emitter, session)
        emitted_webhooks.assert_nothing_emitted()
        session.commit()
    assert ids(engine) == [outer, kept, last] == [one.id for one in emitted_webhooks]


def test_savepoints_of_a_connection_drop_exactly_their_events(
    engine: Engine, emitter: Emitter, emitted_webhooks: EmittedEvents
) -> None:
    with engine.connect() as connection:
        outer = emit(emitter, connection)
        with connection.begin_nested():
            kept = emit(emitter, connection)
            with connection.begin_nested() as innermost:
                emit(emitter, connection)
                innermost.rollback()
        with connection.begin_nested() as dropped:
            emit(emitter, connection)
            dropped.rollback()
        emitted_webhooks.assert_nothing_emitted()
        connection.commit()
        emit(emitter, connection)
        connection.rollback()
        again = emit(emitter, connection)
        connection.commit()
    assert ids(engine) == [outer, kept, again] == [one.id for one in emitted_webhooks]


@pytest.mark.parametrize("end", ["rollback", "close", "savepoint", "expunge and rollback"])
def test_what_was_rolled_back_was_never_emitted(
    engine: Engine, emitter: Emitter, emitted_webhooks: EmittedEvents, end: str
) -> None:
    with Session(engine) as session:
        session.add(Order(sku="one"))
        emit(emitter, session)
        if end == "rollback":
            session.flush()
            session.rollback()
        elif end == "savepoint":
            with session.begin_nested():
                emit(emitter, session)
            session.rollback()
        elif end == "expunge and rollback":
            session.expunge_all()
            session.rollback()
        else:
            session.close()
        # The session continues with another transaction.
        session.add(Order(sku="two"))
        session.commit()
    assert ids(engine) == []
    emitted_webhooks.assert_nothing_emitted()


@pytest.mark.parametrize("where", ["outside", "inside", "before a savepoint that fails"])
def test_a_session_that_forgets_its_objects_keeps_its_events(engine: Engine, emitter: Emitter, where: str) -> None:
    with Session(engine) as session:
        if where == "inside":
            with session.begin_nested():
                id = emit(emitter, session)
                session.expunge_all()
        else:
            id = emit(emitter, session)
            session.expunge_all()
        if where.startswith("before"):
            with session.begin_nested() as savepoint:
                savepoint.rollback()
        session.commit()
    assert ids(engine) == [id]


def test_events_work_in_threads(engine: Engine, emitter: Emitter) -> None:
    def work() -> None:
        with Session(engine) as session:
            emit(emitter, session)
            session.commit()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids(engine)) == 4


async def test_events_work_in_forked_children(engine: Engine, settings: WebhooksSettings) -> None:
    webhooks = Webhooks(event_types=["order.created"], settings=settings, outbox=Outbox(engine))
    async with webhooks.lifespan():

        def work() -> int:
            engine.dispose(close=False)
            with Session(engine) as session:
                emit(webhooks.emitter("acme"), session)
                session.commit()
            return len(ids(engine))

        assert in_child(work) == 1


def test_a_suite_that_rolls_everything_back_sees_what_sessions_commit(
    engine: Engine, emitter: Emitter, emitted_webhooks: EmittedEvents
) -> None:
    with engine.connect() as connection:
        connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            emit(emitter, session)
            session.rollback()
            id = emit(emitter, session)
            emitted_webhooks.assert_nothing_emitted()
            session.commit()
        assert [one.id for one in emitted_webhooks] == [id]
        connection.rollback()
    assert ids(engine) == []


def test_commits_touch_no_object_of_the_host(engine: Engine, emitter: Emitter) -> None:
    statements: list[str] = []
    with Session(engine) as session:
        order = Order(sku="one")
        session.add(order)
        emit(emitter, session)
        event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
        session.commit()
    assert not [one for one in statements if "SELECT" in one]


# What is refused


def test_without_an_outbox_the_error_says_how_to_add_one(engine: Engine, settings: WebhooksSettings) -> None:
    webhooks = Webhooks(event_types=["order.created"], settings=settings)
    with Session(engine) as session, pytest.raises(RuntimeError, match=r"Webhooks\(outbox=Outbox\(engine\)\)"):
        emit(webhooks.emitter("acme"), session)


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (lambda _: object(), r"`outbox.statement\(...\)`"),
        (lambda engine: engine, "Pass a session or a connection"),
        (lambda engine: sessionmaker(engine), "Pass a session"),
        (lambda _: ShardedSession.__new__(ShardedSession), "bind_arguments"),
        (lambda engine: create_async_engine("sqlite+aiosqlite://").connect(), "must be awaited"),
    ],
)
def test_an_object_without_a_transaction_is_refused(engine: Engine, emitter: Emitter, make: Any, remedy: str) -> None:
    with pytest.raises(TypeError, match=remedy):
        emit(emitter, make(engine))


def test_a_session_of_another_database_is_refused(emitter: Emitter, tmp_path: Path) -> None:
    other = create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    with Session(other) as session, pytest.raises(RuntimeError, match=r"Outbox\(engine, other_engine\)"):
        emit(emitter, session)
    with other.connect() as connection, pytest.raises(RuntimeError, match=r"Outbox\(engine, other_engine\)"):
        emit(emitter, connection)
    other.dispose()


def test_a_session_that_is_bound_to_nothing_is_refused(engine: Engine, emitter: Emitter) -> None:
    with Session() as session, pytest.raises(RuntimeError, match=r"outbox.row: engine"):
        emit(emitter, session)


def test_a_session_with_binds_needs_one_for_the_outbox(engine: Engine) -> None:
    outbox = Outbox(engine)
    emitter = emitter_into(outbox)
    with Session(binds={Base: engine}) as session, pytest.raises(RuntimeError, match=r"outbox.row: engine"):
        emit(emitter, session)
    with Session(binds={Base: engine, outbox.row: engine}) as session:
        id = emit(emitter, session)
        session.commit()
    assert ids(engine) == [id]


class Routing(Session):
    """Reads from one database and writes to another."""

    engines: dict[str, Engine]

    def get_bind(self, *given: Any, **options: Any) -> Any:
        return self.engines["writes" if self._flushing else "reads"]


@pytest.mark.parametrize("right", [True, False])
def test_a_session_that_routes_is_checked_as_it_writes(
    engine: Engine, emitter: Emitter, tmp_path: Path, right: bool
) -> None:
    other = create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    Outbox(other).metadata.create_all(other)
    with Routing() as session:
        session.engines = {"reads": other, "writes": engine if right else other}
        id = emit(emitter, session)
        if right:
            session.commit()
        else:
            with pytest.raises(RuntimeError, match="leads to the SQLite file"):
                session.commit()
    assert ids(engine) == ([id] if right else [])
    assert ids(other) == []
    other.dispose()


@pytest.mark.parametrize("how", ["engine", "options", "connection"])
def test_connections_in_autocommit_mode_are_refused(engine: Engine, tmp_path: Path, how: str) -> None:
    if how == "engine":
        alone = create_engine(engine.url, isolation_level="AUTOCOMMIT")
    else:
        alone = create_engine(engine.url).execution_options(isolation_level="AUTOCOMMIT")
    emitter = emitter_into(Outbox(alone))
    with pytest.raises(RuntimeError, match="is in autocommit mode"):
        if how == "connection":
            with alone.connect() as connection:
                emit(emitter, connection)
        else:
            with Session(alone) as session:
                emit(emitter, session)
                session.commit()
    assert ids(engine) == []
    alone.dispose()


def test_a_schema_translation_that_moves_the_table_is_refused(engine: Engine, emitter: Emitter) -> None:
    translated = engine.execution_options(schema_translate_map={None: "tenant_1"})
    with translated.connect() as connection, pytest.raises(RuntimeError, match="schema_translate_map"):
        emit(emitter, connection)
    with Session(translated) as session, pytest.raises(RuntimeError, match="schema_translate_map"):
        emit(emitter, session)
        session.commit()
    assert ids(engine) == []


# Several threads


def in_thread(work: Callable[[], T]) -> T:
    """Run in another thread and return its result, or raise its error."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_a_session_may_be_used_by_one_thread_after_another(engine: Engine, emitter: Emitter) -> None:
    with Session(engine) as session:
        session.execute(text("SELECT 1"))
        id = in_thread(lambda: emit(emitter, session))
        in_thread(session.commit)
    assert ids(engine) == [id]


def test_a_session_that_another_thread_flushes_takes_an_event(engine: Engine, emitter: Emitter) -> None:
    emitted: list[str] = []
    with Session(engine) as session:

        @event.listens_for(session, "after_flush")
        def flushed(*_: object) -> None:
            if not emitted:
                emitted.append(in_thread(lambda: emit(emitter, session)))

        session.add(Order(sku="one"))
        session.commit()
    assert ids(engine) == emitted


def test_a_session_that_another_thread_commits_refuses_an_event(engine: Engine, emitter: Emitter) -> None:
    refused: list[str] = []

    @event.listens_for(engine, "commit")
    def committed(_: object) -> None:
        with pytest.raises(RuntimeError) as error:
            in_thread(lambda: emit(emitter, session))
        refused.append(str(error.value))

    with Session(engine) as session:
        session.add(Order(sku="one"))
        session.commit()
    event.remove(engine, "commit", committed)
    assert "use a session in one thread at a time" in refused[0]
    assert ids(engine) == []


@pytest.mark.parametrize("when", ["after_commit", "after_rollback"])
def test_a_hook_cannot_emit_when_the_transaction_is_over(engine: Engine, emitter: Emitter, when: str) -> None:
    with Session(engine) as session:
        event.listen(session, when, lambda session: emit(emitter, session))
        session.add(Order(sku="one"))
        with pytest.raises(RuntimeError, match="emit before the commit"):
            session.commit() if when == "after_commit" else session.rollback()
    assert ids(engine) == []


def test_a_session_whose_transaction_has_failed_refuses_an_event(engine: Engine, emitter: Emitter) -> None:
    with Session(engine) as session:
        session.execute(text("INSERT INTO orders VALUES ('one')"))
        session.add(Order(sku="one"))
        with pytest.raises(IntegrityError):
            session.flush()
        with pytest.raises(RuntimeError, match="Roll it back"):
            emit(emitter, session)
        session.rollback()
        id = emit(emitter, session)
        session.commit()
    assert ids(engine) == [id]


# For the host's migrations


def test_alembic_leaves_the_tables_alone(engine: Engine) -> None:
    outbox = Outbox(engine)
    table = outbox.metadata.tables["webhooks_outbox"]
    index = next(iter(table.indexes))
    assert outbox.include_object(Order.__table__, "orders", "table", True, None)
    assert outbox.include_object(object(), "public", "schema", True, None)
    assert not outbox.include_object(table, table.name, "table", True, None)
    assert not outbox.include_object(index, index.name, "index", True, None)


def test_no_column_accepts_null(engine: Engine) -> None:
    # Rows may also come from the host's own statements.
    tables = Outbox(engine).metadata.tables.values()
    assert [column.name for table in tables for column in table.columns if column.nullable] == []


def test_other_drivers_get_a_statement(engine: Engine, emitter: Emitter) -> None:
    events = [emitter.prepare("order.created", {"sku": str(n)}, channels=["north"]) for n in range(2)]
    outbox = Outbox(str(engine.url))
    sql, parameters = outbox.statement(*events, paramstyle="qmark")
    with engine.begin() as connection:
        connection.exec_driver_sql(sql, tuple(parameters))
    assert ids(engine) == [one.id for one in events]
    assert outbox.statement(events[0], paramstyle="format")[0].endswith("(%s, %s, %s)")
    assert outbox.statement(*events, paramstyle="numeric_dollar")[0].endswith("($1, $2, $3), ($4, $5, $6)")
    with pytest.raises(ValueError, match="paramstyle"):
        outbox.statement(*events, paramstyle="named")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("host.db", "or a URL"),
        ("oracle://host/name", "Use SQLite, PostgreSQL or MariaDB"),
        ("sqlite://", "the engine itself"),
    ],
)
def test_a_database_without_an_outbox_is_refused(given: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Outbox(given)


def test_a_url_may_name_several_hosts_and_shows_no_password() -> None:
    outbox = Outbox("postgresql://a:secret@one:1,two:2/name?target_session_attrs=read-write")
    assert str(outbox.place) == "postgresql at one:1,two:2:5432/name"
    assert "secret" not in repr(outbox)
