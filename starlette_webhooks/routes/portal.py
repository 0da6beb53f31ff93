"""The portal: a link to it, and who may open it."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from starlette_webhooks.authentication import Principal, call_authenticate
from starlette_webhooks.backends.base import PortalAccess
from starlette_webhooks.events import format_time
from starlette_webhooks.exceptions import Forbidden
from starlette_webhooks.portal.pages import Portal
from starlette_webhooks.portal.session import mint_session
from starlette_webhooks.routes.bodies import PortalRequest
from starlette_webhooks.routes.services import (
    Query,
    Services,
    authorize,
    find_principal,
    json_response,
    read_body,
    services,
)

__all__ = ["create_portal_access", "make_portal"]


async def create_portal_access(request: Request) -> Response:
    """`POST /portal` (and `GET`): a link with a session that may do what who asks may do, and no more."""
    principal = await authorize(request, "read")
    Query(request).done()
    body = await read_body(request, PortalRequest) if request.method == "POST" else PortalRequest()
    own = services(request)
    if await call_authenticate(own.authenticate, request) is None:
        # A session of the portal must not renew itself, or a link that leaked would never end.
        raise Forbidden("A portal session cannot make another. Ask for a link with an API key.", code="portal_session")
    access = await backend_portal(own, principal, body.expires_in)
    if access is None:
        now = own.clock()
        scopes = principal.scopes & {own.settings.read_scope, own.settings.write_scope}
        token = mint_session(own.keys, Principal(principal.tenant, scopes), now=now, expires_in=body.expires_in)
        url = str(request.url.replace(path=f"{request.scope.get('root_path', '')}/dashboard", query="", fragment=""))
        access = PortalAccess(f"{url}?token={token}", datetime.fromtimestamp(int(now) + body.expires_in, UTC))
    return json_response({"url": access.url, "expiresAt": format_time(access.expires_at)})


async def backend_portal(own: Services, principal: Principal, expires_in: int = 3600) -> PortalAccess | None:
    """Access to the backend's own portal, after the catalog was registered once; None where ours serves."""
    if not own.synced:
        await own.backend.sync(own.event_types)
        own.synced = True
    write = own.settings.write_scope in principal.scopes
    return await own.backend.portal(principal.tenant, write=write, expires_in=expires_in)


def make_portal(own: Services, api: ASGIApp | None = None) -> Portal:
    """The page: among the routes, or apart from them with `api` to serve them below itself."""

    async def authenticate(connection: HTTPConnection) -> Principal | None:
        return await find_principal(own, connection)

    async def portal(principal: Principal) -> PortalAccess | None:
        return await backend_portal(own, principal)

    return Portal(
        own.settings,
        authenticate=authenticate,
        keys=lambda: own.keys,
        backend_portal=portal,
        api=api,
        signature=own.backend.signature_headers,
        clock=lambda: own.clock(),
    )
