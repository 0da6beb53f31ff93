"""Operations over all tenants, for backends with a store."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import anyio

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.backends.operations import Operations, RetryProgress
from starlette_webhooks.budget import Budget, Reservation
from starlette_webhooks.conflicts import endpoint_disabled
from starlette_webhooks.endpoints import Endpoint
from starlette_webhooks.event_states import EventDelivery, EventSearch, EventSummary
from starlette_webhooks.events import Event
from starlette_webhooks.feed import CommittedEvents
from starlette_webhooks.identifiers import is_endpoint_id, is_message_id
from starlette_webhooks.operations import (
    EndpointQuery,
    EndpointStatus,
    EventHeader,
    Overview,
    RecentEvents,
    TenantQuery,
    TenantStatus,
    is_urgency_cursor,
)
from starlette_webhooks.pagination import Page, check_cursor
from starlette_webhooks.stores.base import Store
from starlette_webhooks.undelivered import (
    STATES,
    FoundDelivery,
    RecoverableCount,
    Retried,
    Undelivered,
    UndeliveredCount,
    UndeliveredQuery,
    UndeliveredState,
)

__all__ = ["StoredOperations"]

_BATCH = 500
_PAUSE = 0.1
# A store has more connections for reading, so that everything else is still read.
_SCANS = 2
_MISSING_BATCHES = 200
"""How many batches of 500 events are looked at for those that were never sent to an endpoint."""


class StoredOperations(Operations):
    """Implements `Operations` over a store, and gives access to its log.

    Lists that may look at thousands of rows take turns, two at a time, and one of each tenant. The dispatcher and
    everyone's other calls do not wait for them.
    """

    store: Store
    _scans: Budget

    def _start_scans(self) -> None:
        # For each run, because waiting callers belong to an event loop.
        self._scans = Budget(_SCANS)

    async def _scan(self, tenant: str) -> Reservation:
        """Wait for a turn, and have it until the reservation is released."""
        _ = self._open_store
        return await self._scans.reserve(tenant, 1)

    @property
    def committed(self) -> CommittedEvents:
        """See `Backend.committed`."""
        return self.store

    @property
    @abstractmethod
    def _open_store(self) -> Store:
        """The store while it is open. Raises `NotRunning` otherwise."""

    @abstractmethod
    def _resume_all(self, numbers: Iterable[int]) -> None:
        """Deliver to these endpoints immediately, even if they are paused because of failures."""

    @abstractmethod
    def _opened(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint with its headers, which may be encrypted in the store."""

    async def overview(self) -> Overview:
        """See `Operations.overview`."""
        return await self._open_store.overview()

    async def find_tenants(self, query: TenantQuery) -> Page[TenantStatus]:
        """See `Operations.find_tenants`."""
        return await self._open_store.find_tenants(query)

    async def find_endpoints(self, query: EndpointQuery) -> Page[EndpointStatus]:
        """See `Operations.find_endpoints`."""
        store = self._open_store
        check_cursor(query.cursor, is_urgency_cursor if query.order == "urgency" else is_endpoint_id)
        page = await store.find_endpoints(query)
        items = [replace(one, endpoint=self._opened(one.endpoint)) for one in page.items]
        return Page(items, page.next_cursor, page.done)

    async def find_event(self, id: str) -> Event | None:
        """See `Operations.find_event`."""
        return await self._open_store.find_event(id)

    async def recent_events(self, query: RecentEvents) -> Page[EventHeader]:
        """See `Operations.recent_events`."""
        return await self._open_store.recent_events(query)

    async def search_events(self, query: EventSearch) -> Page[EventSummary]:
        """See `Operations.search_events`."""
        with await self._scan(query.tenant):
            check_cursor(query.cursor, is_message_id)
            return await self.store.search_events(query)

    async def event_deliveries(
        self, tenant: str, id: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[EventDelivery] | None:
        """See `Operations.event_deliveries`."""
        with await self._scan(tenant):
            check_cursor(cursor, is_endpoint_id)
            return await self.store.event_deliveries(tenant, id, limit=limit, cursor=cursor)

    async def list_attempts(self, tenant: str, query: AttemptQuery) -> Page[Attempt]:
        """See `Backend.list_attempts`."""
        with await self._scan(tenant):
            return await self.store.list_attempts(tenant, query)

    async def find_undelivered(self, query: UndeliveredQuery) -> Page[Undelivered]:
        """See `Operations.find_undelivered`."""
        with await self._scan(query.tenant or ""):
            return await self.store.find_undelivered(query)

    async def count_undelivered(
        self, query: UndeliveredQuery, *, most: int = 10_000, within: float | None = None
    ) -> UndeliveredCount:
        """See `Operations.count_undelivered`."""
        began = time.monotonic()
        count, cursor = 0, None
        while True:
            started = time.monotonic()
            page = await self.find_undelivered(replace(query, limit=_BATCH, cursor=cursor))
            count, cursor = count + len(page.items), page.next_cursor
            if count > most:
                return UndeliveredCount(most, exact=False)
            if page.done:
                return UndeliveredCount(count, exact=True)
            if within is not None and time.monotonic() - began >= within:
                return UndeliveredCount(count, exact=False)
            # A filter that matches few deliveries may read all of them. Others read meanwhile.
            await anyio.sleep(min(time.monotonic() - started, _PAUSE))

    async def count_recoverable(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None, *, missing: bool
    ) -> RecoverableCount | None:
        """See `Operations.count_recoverable`."""
        endpoint = await self._open_store.get_endpoint(tenant, endpoint_id)
        if endpoint is None:
            return None
        if endpoint.disabled:
            raise endpoint_disabled(endpoint_id, endpoint.disabled_reason)
        query = UndeliveredQuery(
            tenant=tenant, endpoint_id=endpoint_id, states=("exhausted", "failing"), after=since, before=until
        )
        failed = await self.count_undelivered(query)
        if not missing:
            return RecoverableCount(failed.count, 0, failed.exact)
        unsent = await self._count_missing(tenant, endpoint_id, since, until)
        if unsent is None:
            return None
        return RecoverableCount(failed.count, unsent.count, failed.exact and unsent.exact)

    async def _count_missing(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None
    ) -> UndeliveredCount | None:
        count, after = 0, None
        for _ in range(_MISSING_BATCHES):
            started = time.monotonic()
            with await self._scan(tenant):
                found = await self.store.count_missing(tenant, endpoint_id, since, until, after)
            if found is None:
                return None
            count, after = count + found.count, found.last
            if after is None:
                return UndeliveredCount(count, exact=True)
            await anyio.sleep(min(time.monotonic() - started, _PAUSE))
        return UndeliveredCount(count, exact=False)

    async def retry_undelivered(self, query: UndeliveredQuery, *, on_progress: RetryProgress | None = None) -> Retried:
        """See `Operations.retry_undelivered`."""
        store = self._open_store
        # What fails again during the retry is not retried without end.
        began = datetime.fromtimestamp(store.now() / 1000, UTC)
        query = replace(query, states=_retried(query.states), attempted_before=began, limit=_BATCH, cursor=None)
        done, cursor = Retried(), None
        while query.states:
            started = time.monotonic()
            page = await self.find_undelivered(replace(query, cursor=cursor))
            numbers = [one.numbers for one in page.items if not one.endpoint_disabled]
            queued = await store.requeue(numbers) if numbers else ()
            self._resume_all(set(queued))
            done = Retried(done.queued + len(queued), done.disabled + len(page.items) - len(numbers))
            if on_progress is not None:
                on_progress(done)
            cursor = page.next_cursor
            if page.done:
                break
            # Others commit as much as this does.
            await anyio.sleep(min(time.monotonic() - started, _PAUSE))
        return done

    async def find_deliveries(self, tenant: str, named: Sequence[tuple[str, str]]) -> Sequence[FoundDelivery]:
        """See `Operations.find_deliveries`."""
        return await self._open_store.find_deliveries(tenant, named)

    async def retry_deliveries(self, found: Sequence[FoundDelivery]) -> Retried:
        """See `Operations.retry_deliveries`."""
        numbers = [one.numbers for one in found if not one.endpoint_disabled]
        queued = await self._open_store.requeue(numbers) if numbers else ()
        self._resume_all(set(queued))
        return Retried(len(queued), len(found) - len(numbers))


def _retried(states: tuple[UndeliveredState, ...]) -> tuple[UndeliveredState, ...]:
    return tuple(state for state in states or STATES if state != "waiting")
