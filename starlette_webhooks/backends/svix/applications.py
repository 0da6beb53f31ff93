"""Maps tenants to Svix applications."""

from __future__ import annotations

import base64
import hashlib
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette_webhooks.backends.svix.errors import Missing, SvixRefused

if TYPE_CHECKING:
    from starlette_webhooks.backends.svix.client import SvixClient

__all__ = ["Applications", "application_uid"]

# Svix accepts these characters, but `.` and `..` would change the path, `app_...` would be read as Svix's own id of an
# application, perhaps another tenant's, and `t_` is the prefix of the names that are generated here.
_PLAIN = re.compile(r"(?!app_|t_|\.{1,2}\Z)[a-zA-Z0-9\-_.]{1,256}", re.ASCII)
_CACHE = 100_000
_NAME_LENGTH = 256


def application_uid(tenant: str) -> str:
    """Return the uid of a tenant's application: the tenant itself, or `t_` and a digest if Svix does not accept it."""
    if _PLAIN.fullmatch(tenant):
        return tenant
    digest = hashlib.sha256(tenant.encode("utf-8", "surrogatepass")).digest()
    return "t_" + base64.b32encode(digest).decode("ascii").rstrip("=").lower()


class Applications:
    """Creates applications on demand, and remembers which exist."""

    def __init__(self, client: SvixClient) -> None:
        self._client = client
        self._known: dict[str, None] = {}

    async def ensure(self, tenant: str) -> str:
        """Create the tenant's application if necessary, and return its uid."""
        uid = application_uid(tenant)
        if uid in self._known:
            return uid
        try:
            await self._create(tenant, uid)
        except SvixRefused as exc:
            if exc.status != 409:
                raise
            # Svix checks and inserts without a lock, and another first call was faster.
            await self._create(tenant, uid)
        if len(self._known) >= _CACHE:  # pragma: no cover  Needs 100,000 tenants.
            del self._known[next(iter(self._known))]
        self._known[uid] = None
        return uid

    async def _create(self, tenant: str, uid: str) -> None:
        from svix.api import ApplicationIn

        name = tenant.encode("utf-8", "replace").decode()[:_NAME_LENGTH] or "(empty)"
        await self._client.call(self._client.sdk.application.get_or_create, ApplicationIn(name=name, uid=uid))

    async def delete(self, tenant: str) -> None:
        """Delete the tenant's application with everything in it."""
        with suppress(Missing):
            await self._client.done(self._client.sdk.application.delete, application_uid(tenant))
        self.forget(tenant)

    def forget(self, tenant: str) -> None:
        """Note that the application may have been deleted."""
        self._known.pop(application_uid(tenant), None)
