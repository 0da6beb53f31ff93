"""The part of the SQLite store that shows what is going on: figures, endpoints, events and deliveries."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from starlette_webhooks.event_states import EventDelivery, EventSearch, EventSummary
from starlette_webhooks.events import Event
from starlette_webhooks.feed import CommittedEvents, Entry
from starlette_webhooks.operations import (
    EndpointQuery,
    EndpointStatus,
    EventHeader,
    Overview,
    RecentEvents,
    TenantQuery,
    TenantStatus,
)
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.base import CountedMissing, EventStateStore, Operations, RecoverWindow, UndeliveredStore
from starlette_webhooks.stores.limits import LOOKED_AT
from starlette_webhooks.stores.sqlite import event_states, log, meta, operations, redelivery
from starlette_webhooks.stores.sqlite.database import Database
from starlette_webhooks.stores.sqlite.undelivered import SQLiteUndeliveredRows, find_deliveries, requeue
from starlette_webhooks.stores.undelivered import find_undelivered
from starlette_webhooks.undelivered import FoundDelivery, Undelivered, UndeliveredQuery

__all__ = ["StoredOperations"]


class StoredOperations(UndeliveredStore, EventStateStore, Operations, CommittedEvents):
    """Implements `UndeliveredStore`, `EventStateStore`, `Operations` and `CommittedEvents`."""

    database: Database

    @abstractmethod
    def now(self) -> int:
        """See `DeliveryStore.now`."""

    async def find_undelivered(self, query: UndeliveredQuery, *, looked_at: int = LOOKED_AT) -> Page[Undelivered]:
        """See `UndeliveredStore.find_undelivered`."""
        return await find_undelivered(SQLiteUndeliveredRows(self.database), query, looked_at=looked_at)

    async def find_deliveries(self, tenant: str, named: Sequence[tuple[str, str]]) -> Sequence[FoundDelivery]:
        """See `UndeliveredStore.find_deliveries`."""
        return await self.database.read(partial(find_deliveries, tenant=tenant, named=named))

    async def requeue(self, deliveries: Sequence[tuple[int, int]]) -> Sequence[int]:
        """See `UndeliveredStore.requeue`."""
        return await self.database.write(partial(requeue, deliveries=deliveries, now=self.now()))

    async def count_missing(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None, after: str | None
    ) -> CountedMissing | None:
        """See `UndeliveredStore.count_missing`."""
        window = RecoverWindow(since, until, missing=True)
        return await self.database.read(
            partial(
                redelivery.count_missing,
                tenant=tenant,
                endpoint_id=endpoint_id,
                window=window,
                after=after,
                now=self.now(),
            )
        )

    async def search_events(self, query: EventSearch, *, looked_at: int = LOOKED_AT) -> Page[EventSummary]:
        """See `EventStateStore.search_events`."""
        return await self.database.read(partial(event_states.search_events, query=query, looked_at=looked_at))

    async def event_deliveries(
        self, tenant: str, event_id: str, *, limit: int, cursor: str | None
    ) -> Page[EventDelivery] | None:
        """See `EventStateStore.event_deliveries`."""
        read = partial(event_states.event_deliveries, tenant=tenant, identifier=event_id, limit=limit, cursor=cursor)
        return await self.database.read(read)

    async def overview(self) -> Overview:
        """See `Operations.overview`."""
        return await self.database.read(partial(operations.overview, now=self.now()))

    async def find_tenants(self, query: TenantQuery) -> Page[TenantStatus]:
        """See `Operations.find_tenants`."""
        return await self.database.read(partial(operations.find_tenants, query=query))

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
