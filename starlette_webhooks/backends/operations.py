"""What operators see and change over all tenants, whatever the backend."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import ClassVar

from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.event_states import EventDelivery, EventSearch, EventSummary
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import NotSupported
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
from starlette_webhooks.undelivered import (
    FoundDelivery,
    RecoverableCount,
    Retried,
    Undelivered,
    UndeliveredCount,
    UndeliveredQuery,
)

__all__ = ["Operations", "RetryProgress"]

RetryProgress = Callable[[Retried], None]
"""Called after each batch with what was done so far."""


class Operations:
    """Operations over all tenants, for the command, the console and the portal. The host must guard them.

    Raises:
        NotSupported: The backend does not have these objects. The message says what to use instead.
        NotRunning: Outside the lifespan of the backend.
    """

    without_operations: ClassVar[str | None] = None
    """What to use with a backend that does not support these operations."""

    async def overview(self) -> Overview:
        """Return figures of the store. See `Overview`."""
        raise self._not_supported()

    async def find_tenants(self, query: TenantQuery) -> Page[TenantStatus]:
        """Return a page of tenants and how their endpoints are doing, by name."""
        raise self._not_supported()

    async def find_endpoints(self, query: EndpointQuery) -> Page[EndpointStatus]:
        """Return a page of endpoints and how they are doing. See `EndpointQuery`."""
        raise self._not_supported()

    async def disable_endpoint(self, endpoint_id: str) -> Endpoint | None:
        """Disable an endpoint of any tenant. Its deliveries wait. Returns None if there is no such endpoint."""
        return await self._set_disabled(endpoint_id, True)

    async def enable_endpoint(self, endpoint_id: str) -> Endpoint | None:
        """Enable an endpoint of any tenant, and deliver what waits. Returns None if there is no such endpoint."""
        return await self._set_disabled(endpoint_id, False)

    async def _set_disabled(self, endpoint_id: str, disabled: bool) -> Endpoint | None:
        found = await self.find_endpoints(EndpointQuery(endpoint_id=endpoint_id, limit=1))
        if not found.items:
            return None
        tenant = found.items[0].endpoint.tenant
        return await self.update_endpoint(tenant, endpoint_id, EndpointChanges(disabled=disabled))

    @abstractmethod
    async def update_endpoint(self, tenant: str, id: str, changes: EndpointChanges) -> Endpoint | None:
        """See `Backend.update_endpoint`."""

    async def find_event(self, id: str) -> Event | None:
        """Return an event of any tenant by its public id."""
        raise self._not_supported()

    async def recent_events(self, query: RecentEvents) -> Page[EventHeader]:
        """Return a page of the last committed events of all tenants."""
        raise self._not_supported()

    async def find_undelivered(self, query: UndeliveredQuery) -> Page[Undelivered]:
        """Return a page of deliveries that were never answered with 2xx. See `UndeliveredQuery`."""
        raise self._not_supported()

    async def count_undelivered(
        self, query: UndeliveredQuery, *, most: int = 10_000, within: float | None = None
    ) -> UndeliveredCount:
        """Count the deliveries that match a query, up to `most`. Ignores `limit` and `cursor` of the query.

        Args:
            within: Stop after so many seconds. The count is then a lower bound.
        """
        raise self._not_supported()

    async def count_recoverable(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None, *, missing: bool
    ) -> RecoverableCount | None:
        """Count what `Backend.recover` would deliver again, within bounds. None if there is no such endpoint."""
        raise self._not_supported()

    async def retry_undelivered(self, query: UndeliveredQuery, *, on_progress: RetryProgress | None = None) -> Retried:
        """Make the exhausted and failing deliveries that match a query due now, in batches. Ignores `limit`.

        Deliveries that wait for their first attempt need no retry. Those of disabled endpoints are skipped and counted.
        Those that fail again meanwhile are not retried twice.
        """
        raise self._not_supported()

    async def find_deliveries(self, tenant: str, named: Sequence[tuple[str, str]]) -> Sequence[FoundDelivery]:
        """Return those of these pairs of an event's and an endpoint's id that a tenant has."""
        raise self._not_supported()

    async def retry_deliveries(self, found: Sequence[FoundDelivery]) -> Retried:
        """Make these deliveries due now, unless the endpoint has confirmed them or is disabled."""
        raise self._not_supported()

    async def search_events(self, query: EventSearch) -> Page[EventSummary]:
        """Return a page of events with the states of their deliveries. See `EventSearch`."""
        raise self._not_supported()

    async def event_deliveries(
        self, tenant: str, id: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[EventDelivery] | None:
        """Return a page of a tenant's endpoints with the delivery of an event to each. None without such an event."""
        raise self._not_supported()

    @abstractmethod
    async def prune(self) -> None:
        """Remove what is older than the retention, in small batches. Called automatically every hour."""

    def _not_supported(self) -> NotSupported:
        return NotSupported(self.without_operations)
