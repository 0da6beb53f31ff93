"""Lists that may look at many rows take turns, which tenants share."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.backends.stored import StoredBackend
from starlette_webhooks.event_states import EventDelivery, EventSearch, EventSummary
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.events import EventQuery
from starlette_webhooks.pagination import Page
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.stores.sqlite.store import SQLiteStore
from starlette_webhooks.undelivered import Undelivered, UndeliveredQuery
from tests.eventually import eventually

Scan = Callable[[StoredBackend, str], Coroutine[Any, Any, object]]
SCANS: dict[str, Scan] = {
    "search": lambda backend, tenant: backend.search_events(EventSearch(tenant=tenant)),
    "undelivered": lambda backend, tenant: backend.find_undelivered(UndeliveredQuery(tenant=tenant)),
    "deliveries": lambda backend, tenant: backend.event_deliveries(tenant, "msg_1"),
    "attempts": lambda backend, tenant: backend.list_attempts(tenant, AttemptQuery()),
}


class SlowStore(SQLiteStore):
    """A store whose scans take until `done` is set. `scanned` counts them by tenant."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.scanned: Counter[str | None] = Counter()
        self.done = anyio.Event()

    async def _scan(self, tenant: str | None) -> None:
        self.scanned[tenant] += 1
        await self.done.wait()

    async def search_events(self, query: EventSearch, **options: Any) -> Page[EventSummary]:
        await self._scan(query.tenant)
        return await super().search_events(query, **options)

    async def find_undelivered(self, query: UndeliveredQuery, **options: Any) -> Page[Undelivered]:
        await self._scan(query.tenant)
        return await super().find_undelivered(query, **options)

    async def event_deliveries(self, tenant: str, event_id: str, **options: Any) -> Page[EventDelivery] | None:
        await self._scan(tenant)
        return await super().event_deliveries(tenant, event_id, **options)

    async def list_attempts(self, tenant: str, query: AttemptQuery) -> Page[Attempt]:
        await self._scan(tenant)
        return await super().list_attempts(tenant, query)


@asynccontextmanager
async def scanning(
    settings: WebhooksSettings, scan: Scan, **calls: int
) -> AsyncGenerator[tuple[StoredBackend, SlowStore]]:
    """Run a backend with so many scans of each tenant, one tenant after the other, which end with the block."""
    store = SlowStore()
    backend = StoredBackend(store, settings)
    async with backend.lifespan(EventTypes()), anyio.create_task_group() as tasks:
        for tenant, count in calls.items():
            for _ in range(count):
                tasks.start_soon(scan, backend, tenant)
            # Trio starts tasks in any order.
            await anyio.wait_all_tasks_blocked()
        yield backend, store
        store.done.set()


@pytest.mark.parametrize("kind", SCANS)
async def test_one_tenant_has_one_turn_and_another_one_does_not_wait(settings: WebhooksSettings, kind: str) -> None:
    async with scanning(settings, SCANS[kind], mallory=10, acme=2) as (_, store):
        await eventually(lambda: store.scanned == {"mallory": 1, "acme": 1})
    assert store.scanned == {"mallory": 10, "acme": 2}


async def test_what_looks_at_few_rows_never_waits(settings: WebhooksSettings) -> None:
    async with scanning(settings, SCANS["search"], mallory=10, acme=10) as (backend, _):
        assert (await backend.list_events("acme", EventQuery())).items == []
        assert await backend.get_endpoint("acme", "ep_1") is None
