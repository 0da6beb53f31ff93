"""Svix's own portal, if the server has one."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from starlette_webhooks.backends.base import PortalAccess
from starlette_webhooks.backends.svix.applications import application_uid
from starlette_webhooks.backends.svix.errors import Missing

if TYPE_CHECKING:
    from starlette_webhooks.backends.svix.applications import Applications
    from starlette_webhooks.backends.svix.client import SvixClient

__all__ = ["Portal"]

# The answer of a self-hosted server, which has no portal (svix-server 1.100, `v1/endpoints/auth.rs`).
_NO_PORTAL = "https://docs.svix.com/"
_READ = ("ViewBase",)
_WRITE = ("ViewBase", "ViewEndpointSecret", "ManageEndpointSecret", "CreateAttempts", "ManageEndpoint")
_SHORTEST, _LONGEST = 3600, 604_800


class Portal:
    """Grants access to the portal. Svix ends it after an hour at the earliest, and after 7 days at the latest."""

    def __init__(self, client: SvixClient, applications: Applications) -> None:
        self._client = client
        self._applications = applications
        self._none = False

    async def access(self, tenant: str, *, write: bool, expires_in: int) -> PortalAccess | None:
        """See `Backend.portal`."""
        if self._none:
            return None
        from svix.api import AppPortalAccessIn, AppPortalCapability

        expires_in = min(max(expires_in, _SHORTEST), _LONGEST)
        asked = AppPortalAccessIn(
            capabilities=[AppPortalCapability(name) for name in (_WRITE if write else _READ)], expiry=expires_in
        )
        uid = await self._applications.ensure(tenant)
        made_at = self._client.now()
        out = await self._client.call(self._client.sdk.authentication.app_portal_access, uid, asked)
        if out.url.startswith(_NO_PORTAL):
            self._none = True
            return None
        return PortalAccess(out.url, datetime.fromtimestamp(made_at, UTC) + timedelta(seconds=expires_in))

    async def end_access(self, tenant: str) -> None:
        """End all access that was granted so far. Does nothing on self-hosted servers, which have no portal."""
        if self._none:
            return
        from svix.api import ApplicationTokenExpireIn

        # Without a delay.
        given = ApplicationTokenExpireIn(expiry=0)
        with suppress(Missing):
            await self._client.done(self._client.sdk.authentication.expire_all, application_uid(tenant), given)
