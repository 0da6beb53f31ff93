"""Dead letters of events that were emitted within transactions: seen, redriven and discarded in one way everywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from starlette_webhooks import DeadLetter, Event, NotRunning, Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.events import EventQuery
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.outbox.rows import to_row
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.submissions import Submission
from tests.audit_log import audit_entries
from tests.eventually import eventually

EVENT_TYPES = ["order.created"]


@dataclass
class Place:
    """A host with an outbox, in some database.

    Attributes:
        table: The quoted name of its outbox.
    """

    webhooks: Webhooks
    engine: Engine
    table: str

    def insert(self, tenant: str, *ids: str) -> None:
        """Insert rows that nothing can read."""
        with self.engine.begin() as connection:
            statement = text(f"INSERT INTO {self.table} (id, tenant, body) VALUES (:id, :tenant, :body)")
            for id in ids:
                connection.execute(statement, {"id": id, "tenant": tenant, "body": b"\x00"})

    async def dead(self, *ids: str) -> Sequence[DeadLetter]:
        """Wait until these are the dead letters."""
        found: Sequence[DeadLetter] = ()

        async def there() -> bool:
            nonlocal found
            found = await self.webhooks.dead_letters()
            return sorted(letter.id for letter in found) == sorted(ids)

        await eventually(there)
        return found


@pytest.fixture(params=["sqlite", "postgresql"])
async def place(request: pytest.FixtureRequest, tmp_path: Path, settings: WebhooksSettings) -> AsyncIterator[Place]:
    """An outbox beside the backend, and the one in the backend's own database."""
    make: Callable[..., Webhooks] = Webhooks
    if request.param == "sqlite":
        engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
        outbox = Outbox(engine)
        outbox.metadata.create_all(engine)
        webhooks = make(event_types=EVENT_TYPES, settings=settings, backend=MemoryBackend(settings), outbox=outbox)
    else:
        url, schema = request.getfixturevalue("postgresql_url"), request.getfixturevalue("migrated_schema")
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        settings = WebhooksSettings(database=url, database_schema=schema, handle_signals=False, deliver=False)
        webhooks = make(event_types=EVENT_TYPES, settings=settings)
        assert webhooks.outbox is not None
        outbox = webhooks.outbox
    async with running(webhooks):
        yield Place(webhooks, engine, outbox.names.quoted(outbox.names.name))
    engine.dispose()


@asynccontextmanager
async def running(webhooks: Webhooks) -> AsyncIterator[None]:
    with pytest.raises(NotRunning):
        await webhooks.dead_letters()
    async with webhooks.lifespan():
        yield


async def test_dead_letters_are_listed_by_tenant_oldest_first(place: Place) -> None:
    place.insert("acme", "one")
    (letter,) = await place.dead("one")
    assert (letter.tenant, letter.event, letter.code) == ("acme", None, "invalid")
    place.insert("other", "two", "three")
    letters = await place.dead("one", "two", "three")
    assert letters[0] == letter
    assert list(letters) == sorted(letters, key=lambda one: one.dead_lettered_at)
    assert await place.webhooks.dead_letters(limit=1) == [letter]
    assert await place.webhooks.dead_letters(tenant="acme") == [letter]


async def test_dead_letters_are_discarded_by_id(place: Place) -> None:
    place.insert("acme", "one", "two", "three")
    await place.dead("one", "two", "three")
    assert await place.webhooks.discard_dead_letters(["one", "three", "none of them"]) == 2
    await place.dead("two")


async def test_dead_letters_that_were_repaired_reach_the_log(place: Place) -> None:
    place.insert("acme", "one")
    place.insert("other", "two", "three")
    await place.dead("one", "two", "three")
    event = place.webhooks.emitter("acme").prepare("order.created", {"n": 1})
    row = to_row(event)
    with place.engine.begin() as connection:
        # By hand, as an operator would.
        dead = place.table[:-1] + '_dead_letter"'
        values = {"id": row.id, "body": row.body}
        connection.execute(text(f"UPDATE {dead} SET id = :id, body = :body WHERE id = 'one'"), values)
    letters = await place.dead(event.id, "two", "three")
    assert next(letter.event for letter in letters if letter.tenant == "acme") == event
    assert await place.webhooks.redrive_dead_letters("acme", ids=["two"]) == 0
    assert await place.webhooks.redrive_dead_letters("acme") == 1

    async def logged() -> bool:
        return await place.webhooks.backend.get_event("acme", event.id) == event

    await eventually(logged)
    # Refused again, and kept again.
    assert await place.webhooks.redrive_dead_letters(ids=["two"]) == 1
    await place.dead("two", "three")
    assert await place.webhooks.redrive_dead_letters() == 2
    await place.dead("two", "three")


async def test_changes_from_code_are_in_the_audit_log_with_whose_they_were(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.insert("acme", "one")
    place.insert("other", "two", "three")
    await place.dead("one", "two", "three")
    with audit_entries(caplog) as entries:
        await place.webhooks.redrive_dead_letters(ids=["two", "none of them"])
        await place.webhooks.redrive_dead_letters("acme", ids=["three"])
        await place.webhooks.redrive_dead_letters("nobody")
        await place.dead("one", "two", "three")
        await place.webhooks.redrive_dead_letters("acme")
        await place.dead("one", "two", "three")
        await place.webhooks.discard_dead_letters(["three", "one", "two"])
        await place.webhooks.discard_dead_letters(["one"])
    code = {"via": "code", "subject": "", "address": ""}
    assert entries == [
        {"action": "dead_letters.redriven", "tenant": "other", **code, "ids": ["two"]},
        {"action": "dead_letters.redriven", "tenant": "acme", **code, "count": "1"},
        {"action": "dead_letters.discarded", "tenant": "acme", **code, "ids": ["one"]},
        {"action": "dead_letters.discarded", "tenant": "other", **code, "ids": ["three", "two"]},
    ]


async def test_an_event_that_the_backend_fails_on_is_buried_alone(
    tmp_path: Path, settings: WebhooksSettings, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(MemoryBackend):
        """A backend with a fault that concerns one type."""

        def submit(self, events: Sequence[Event]) -> Submission:
            if any(event.type == "order.broken" for event in events):
                raise LookupError("a fault of the backend")
            return super().submit(events)

    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    outbox = Outbox(engine)
    outbox.metadata.create_all(engine)
    types = ["order.created", "order.broken"]
    webhooks = Webhooks(event_types=types, settings=settings, backend=Failing(settings), outbox=outbox)
    async with webhooks.lifespan():
        emitter = webhooks.emitter("acme")
        with Session(engine) as session, session.begin():
            for event_type in ("order.created", "order.broken", "order.created"):
                emitter.emit(event_type, {}, within=session)
        (letter,) = await eventually(webhooks.dead_letters)
        assert (letter.code, letter.detail) == ("LookupError", "a fault of the backend")

        async def moved() -> bool:
            return len((await webhooks.backend.list_events("acme", EventQuery())).items) == 2

        await eventually(moved)
    assert "cannot be moved into the backend" in caplog.text
    engine.dispose()
