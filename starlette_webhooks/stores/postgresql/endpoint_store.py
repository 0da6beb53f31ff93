"""The part of the PostgreSQL store that stores endpoints and their secrets."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

from starlette_webhooks.endpoints import SECRET_OVERLAP, Endpoint, EndpointChanges
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.base import EndpointStore
from starlette_webhooks.stores.postgresql import endpoints
from starlette_webhooks.stores.postgresql.database import Database

__all__ = ["StoredEndpoints"]


class StoredEndpoints(EndpointStore):
    """Implements `EndpointStore`."""

    database: Database
    operator: str | None

    @abstractmethod
    def now(self) -> int:
        """See `DeliveryStore.now`."""

    @abstractmethod
    async def _told(self) -> None:
        """Note that operational events may have been stored, which endpoints of the operator may receive."""

    async def list_endpoints(self, tenant: str, *, limit: int, cursor: str | None) -> Page[Endpoint]:
        """See `EndpointStore.list_endpoints`."""
        return await endpoints.list_endpoints(self.database, tenant, limit, cursor)

    async def get_endpoint(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        """See `EndpointStore.get_endpoint`."""
        return await endpoints.get_endpoint(self.database, tenant, endpoint_id)

    async def endpoint_number(self, tenant: str, endpoint_id: str) -> int | None:
        """See `EndpointStore.endpoint_number`."""
        return await endpoints.number_of(self.database, tenant, endpoint_id)

    async def create_endpoint(self, tenant: str, changes: EndpointChanges, *, limit: int) -> Endpoint:
        """See `EndpointStore.create_endpoint`."""
        create = partial(endpoints.create_endpoint, self.database, tenant, changes, limit=limit)
        made = await create(now=self.now(), operator=self.operator)
        await self._told()
        return made

    async def update_endpoint(self, tenant: str, endpoint_id: str, changes: EndpointChanges) -> Endpoint | None:
        """See `EndpointStore.update_endpoint`."""
        update = partial(endpoints.update_endpoint, self.database, tenant, endpoint_id, changes)
        updated = await update(now=self.now(), operator=self.operator)
        await self._told()
        return updated

    async def delete_endpoint(self, tenant: str, endpoint_id: str) -> bool:
        """See `EndpointStore.delete_endpoint`."""
        deleted = await endpoints.delete_endpoint(self.database, tenant, endpoint_id, operator=self.operator)
        await self._told()
        return deleted

    async def get_secret(self, tenant: str, endpoint_id: str) -> str | None:
        """See `EndpointStore.get_secret`."""
        return await endpoints.get_secret(self.database, tenant, endpoint_id)

    async def rotate_secret(
        self, tenant: str, endpoint_id: str, key: str, *, overlap: int = SECRET_OVERLAP
    ) -> str | None:
        """See `EndpointStore.rotate_secret`."""
        now = self.now()
        expiry = now + overlap * 1000
        return await endpoints.rotate_secret(self.database, tenant, endpoint_id, key, expiry=expiry, now=now)
