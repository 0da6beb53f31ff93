"""The part of the SQLite store for operators: figures, endpoints, events and deliveries of all tenants."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

from starlette_webhooks.events import Event
from starlette_webhooks.feed import CommittedEvents, Entry
from starlette_webhooks.operations import EndpointQuery, EndpointStatus, EventHeader, Overview, RecentEvents
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.base import Operations, UndeliveredStore
from starlette_webhooks.stores.limits import LOOKED_AT
from starlette_webhooks.stores.sqlite import log, meta, operations
from starlette_webhooks.stores.sqlite.database import Database
from starlette_webhooks.stores.sqlite.undelivered import SQLiteUndeliveredRows, requeue
from starlette_webhooks.stores.undelivered import find_undelivered
from starlette_webhooks.undelivered import Undelivered, UndeliveredQuery

__all__ = ["StoredOperations"]


class StoredOperations(UndeliveredStore, Operations, CommittedEvents):
    """Implements `UndeliveredStore`, `Operations` and `CommittedEvents`."""

    database: Database

    @abstractmethod
    def now(self) -> int:
        """See `DeliveryStore.now`."""

    async def find_undelivered(self, query: UndeliveredQuery, *, looked_at: int = LOOKED_AT) -> Page[Undelivered]:
        """See `UndeliveredStore.find_undelivered`."""
        return await find_undelivered(SQLiteUndeliveredRows(self.database), query, looked_at=looked_at)

    async def requeue(self, deliveries: Sequence[tuple[int, int]]) -> Sequence[int]:
        """See `UndeliveredStore.requeue`."""
        return await self.database.write(partial(requeue, deliveries=deliveries, now=self.now()))

    async def overview(self) -> Overview:
        """See `Operations.overview`."""
        return await self.database.read(partial(operations.overview, now=self.now()))

    async def find_endpoints(self, query: EndpointQuery) -> Page[EndpointStatus]:
        """See `Operations.find_endpoints`."""
        return await self.database.read(partial(operations.find_endpoints, query=query, now=self.now()))

    async def find_event(self, event_id: str) -> Event | None:
        """See `Operations.find_event`."""
        return await self.database.read(partial(operations.find_event, identifier=event_id))

    async def recent_events(self, query: RecentEvents) -> Page[EventHeader]:
        """See `Operations.recent_events`."""
        return await self.database.read(partial(operations.recent_events, query=query))

    async def report_process(self, name: str) -> None:
        """See `Operations.report_process`."""
        await self.database.write(partial(operations.report_process, name=name, now=self.now()))

    async def read_committed(self, tenant: str, after: int, limit: int) -> Sequence[Entry]:
        """See `CommittedEvents.read_committed`."""
        return await self.database.read(partial(log.read_committed, tenant=tenant, after=after, limit=limit))

    async def swap_meta(self, name: str, old: bytes, new: bytes) -> bool:
        """See `CommittedEvents.swap_meta`."""
        return await self.database.write(partial(meta.swap_meta, name=name, old=old, new=new))
