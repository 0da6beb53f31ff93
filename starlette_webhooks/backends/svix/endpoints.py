"""Manages endpoints at Svix."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from starlette_webhooks.backends.svix.applications import application_uid
from starlette_webhooks.backends.svix.errors import Missing, SvixRefused
from starlette_webhooks.backends.svix.mapping import (
    check_iterator,
    endpoint_from,
    endpoint_in,
    endpoint_patch,
    is_endpoint_id,
)
from starlette_webhooks.concurrency import each
from starlette_webhooks.conflicts import endpoint_limit, same_secret, too_many_secrets
from starlette_webhooks.delivery.origins import moves
from starlette_webhooks.endpoints import Endpoint, EndpointChanges, EndpointStats
from starlette_webhooks.exceptions import BackendRefused, Conflict, InvalidBody
from starlette_webhooks.pagination import Page

if TYPE_CHECKING:
    from svix.api import EndpointOut

    from starlette_webhooks.backends.svix.applications import Applications
    from starlette_webhooks.backends.svix.client import SvixClient

__all__ = ["Endpoints", "as_customers_fault"]

_PAGE = 250
_STATS_DAYS = timedelta(days=28)


@contextmanager
def as_customers_fault() -> Generator[None]:
    """Turn Svix's refusals within the block into errors for the customer."""
    try:
        yield
    except Missing:
        raise
    except SvixRefused as exc:
        if exc.code == "limit_reached":
            # The only limit that applies to such a call.
            raise too_many_secrets() from exc
        if exc.status == 409:
            raise Conflict(exc.detail or None) from exc
        if exc.status in (400, 422):
            raise InvalidBody(exc.detail or None, code=exc.code or None) from exc
        raise


class Endpoints:
    """The endpoints of applications.

    Args:
        most: The maximum of endpoints per tenant.
        ready: Awaited before a filter is set, because Svix refuses unknown event types.
    """

    def __init__(
        self, client: SvixClient, applications: Applications, *, most: int, ready: Callable[[], Awaitable[None]]
    ) -> None:
        self._client = client
        self._applications = applications
        self._most = most
        self._ready = ready

    async def all(self, tenant: str) -> AsyncIterator[EndpointOut]:
        """Return all endpoints in Svix's format."""
        from svix.api import EndpointListOptions

        cursor: str | None = None
        while True:
            options = EndpointListOptions(limit=_PAGE, iterator=cursor)
            try:
                page = await self._client.call(self._client.sdk.endpoint.list, application_uid(tenant), options)
            except Missing:
                return
            for out in page.data:
                yield out
            cursor = page.iterator
            if page.done or not page.data or cursor is None:
                return

    async def find(self, tenant: str, limit: int, cursor: str | None) -> Page[Endpoint]:
        """Return a page, newest first."""
        from svix.api import EndpointListOptions

        check_iterator(cursor, "ep_", self_hosted=self._client.self_hosted)
        options = EndpointListOptions(limit=min(limit, _PAGE), iterator=cursor)
        try:
            page = await self._client.call(self._client.sdk.endpoint.list, application_uid(tenant), options)
        except Missing:
            return Page([], None, True)

        async def complete(out: EndpointOut) -> Endpoint:
            return endpoint_from(out, tenant, await self._headers(tenant, out.id))

        done = page.done or not page.data
        return Page(await each(page.data, complete), None if done else page.iterator, done)

    async def raw(self, tenant: str, identifier: str) -> EndpointOut | None:
        """Return an endpoint in Svix's format."""
        if not is_endpoint_id(identifier):
            return None
        try:
            return await self._client.call(self._client.sdk.endpoint.get, application_uid(tenant), identifier)
        except Missing:
            return None

    async def get(self, tenant: str, identifier: str) -> Endpoint | None:
        """Return an endpoint."""
        out = await self.raw(tenant, identifier)
        return None if out is None else endpoint_from(out, tenant, await self._headers(tenant, identifier))

    async def _headers(self, tenant: str, identifier: str) -> dict[str, str]:
        try:
            out = await self._client.call(self._client.sdk.endpoint.get_headers, application_uid(tenant), identifier)
        except Missing:
            return {}
        # Svix does not return the values of sensitive headers.
        return dict.fromkeys(out.sensitive, "") | dict(out.headers)

    async def create(self, tenant: str, changes: EndpointChanges) -> Endpoint:
        """See `Backend.create_endpoint`."""
        if changes.event_types:
            await self._ready()
        count = 0
        async for _ in self.all(tenant):
            count += 1
        if count >= self._most:
            raise endpoint_limit(count)
        uid = await self._applications.ensure(tenant)
        with as_customers_fault():
            out = await self._client.call(self._client.sdk.endpoint.create, uid, endpoint_in(changes))
            try:
                _check_filter(out, changes)
                if isinstance(changes.headers, Mapping) and changes.headers:
                    await self._set_headers(uid, out.id, changes.headers)
            except BackendRefused:
                await self._client.done(self._client.sdk.endpoint.delete, uid, out.id)
                raise
        return endpoint_from(out, tenant, changes.headers if isinstance(changes.headers, Mapping) else {})

    async def _set_headers(self, uid: str, identifier: str, headers: Mapping[str, str]) -> None:
        from svix.api import EndpointHeadersIn

        given = EndpointHeadersIn(headers=dict(headers))
        await self._client.done(self._client.sdk.endpoint.set_headers, uid, identifier, given)

    async def update(self, tenant: str, identifier: str, changes: EndpointChanges) -> Endpoint | None:
        """See `Backend.update_endpoint`."""
        before = await self.raw(tenant, identifier)
        if before is None:
            return None
        if changes.event_types:
            await self._ready()
        uid = application_uid(tenant)
        patch = endpoint_patch(changes)
        try:
            with as_customers_fault():
                if moves(before.url, changes):
                    # Before the URL changes, because no value may be sent to the other server. New headers follow
                    # below.
                    await self._set_headers(uid, identifier, {})
                if patch is not None:
                    out = await self._client.call(self._client.sdk.endpoint.patch, uid, identifier, patch)
                    _check_filter(out, changes)
                if isinstance(changes.headers, Mapping):
                    await self._set_headers(uid, identifier, changes.headers)
        except Missing:
            return None
        return await self.get(tenant, identifier)

    async def delete(self, tenant: str, identifier: str) -> bool:
        """See `Backend.delete_endpoint`."""
        if not is_endpoint_id(identifier):
            return False
        try:
            await self._client.done(self._client.sdk.endpoint.delete, application_uid(tenant), identifier)
        except Missing:
            return False
        return True

    async def secret(self, tenant: str, identifier: str) -> str | None:
        """See `Backend.get_secret`."""
        if not is_endpoint_id(identifier):
            return None
        try:
            out = await self._client.call(self._client.sdk.endpoint.get_secret, application_uid(tenant), identifier)
        except Missing:
            return None
        return out.key

    async def rotate(self, tenant: str, identifier: str, key: str | None, *, overlap: int) -> str | None:
        """See `Backend.rotate_secret`."""
        from svix.api import EndpointSecretRotateIn

        current = await self.secret(tenant, identifier)
        if current is None:
            return None
        if current == key:
            # Svix would accept it and store the same secret twice.
            raise same_secret()
        given = {} if key is None else {"key": key}
        rotation = EndpointSecretRotateIn(grace_period_seconds=overlap, **given)
        try:
            with as_customers_fault():
                # A self-hosted server answers 204, on which the SDK fails although the call succeeded.
                await self._client.done(
                    self._client.sdk.endpoint.rotate_secret, application_uid(tenant), identifier, rotation
                )
        except Missing:
            return None
        return await self.secret(tenant, identifier)

    async def stats(self, tenant: str, identifier: str, since: datetime, until: datetime) -> EndpointStats | None:
        """Return statistics of at most the 28 days before `until`, which is now at the latest, without buckets."""
        from svix.api import EndpointGetStatsOptions

        if not is_endpoint_id(identifier):
            return None
        until = min(until, datetime.fromtimestamp(self._client.now(), UTC))
        since = min(max(since, until - _STATS_DAYS), until)
        options = EndpointGetStatsOptions(since=since, until=until)
        try:
            with as_customers_fault():
                out = await self._client.call(
                    self._client.sdk.endpoint.get_stats, application_uid(tenant), identifier, options
                )
        except Missing:
            return None
        pending = out.pending + out.sending
        return EndpointStats(success=out.success, fail=out.fail, pending=pending, since=since, until=until)


def _check_filter(out: EndpointOut, changes: EndpointChanges) -> None:
    wanted = changes.given().get("event_types", ())
    if wanted and set(out.event_types or ()) != set(wanted):
        raise SvixRefused(
            "The Svix server ignores the filter by event type, so the endpoint would receive all events. Upgrade the "
            "server to version 1.99 or later.",
            status=501,
            code="filter_ignored",
            detail="The backend cannot filter by event type.",
        )
