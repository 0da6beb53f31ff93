"""What a deletion leaves behind when its process is killed is removed by the next pruning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from starlette_webhooks.backends.memory import MemoryBackend
from tests.settings import make_settings
from tests.stores.conftest import OpenStore
from tests.stores.contract import add, attempts, claim, emit, record


async def execute(store: Any, statement: str) -> list[Any]:
    """Run a statement on the tables of a store, as nobody but a test does."""
    database = store.database
    if hasattr(database, "schema"):
        rows = await database.call(statement.replace(" FROM ", f" FROM {database.schema}."))
        return list(rows)
    found: list[Any] = await database.write(lambda connection: connection.execute(statement).fetchall())
    return found


async def test_deliveries_and_attempts_of_endpoints_that_are_gone_are_removed(open_store: OpenStore) -> None:
    store = open_store()
    async with store.lifespan():
        await add(store)
        for _ in range(3):
            await emit(store)
        await record(store, (await claim(store)).deliveries[0])
        await execute(store, "DELETE FROM endpoint")
        await store.prune(datetime.now(UTC) - timedelta(days=30))
        assert await execute(store, "SELECT count(*) FROM delivery") == [(0,)]
        assert await attempts(store) == []


async def test_outside_its_lifespan_a_backend_has_nothing_to_wake_or_read() -> None:
    backend = MemoryBackend(make_settings())
    backend.wake()
    await backend.refresh_figures()
    assert backend.health()["status"] == "stopped"
