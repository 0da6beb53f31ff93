"""The routes of the portal: the page, and links to it."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.responses import Response

from starlette_webhooks.audit import actor_of, record
from starlette_webhooks.authentication import Principal, call_authenticate
from starlette_webhooks.backends.base import PortalAccess
from starlette_webhooks.bodies import Body, PortalRequest
from starlette_webhooks.events import format_time
from starlette_webhooks.exceptions import Forbidden
from starlette_webhooks.routes.messages import json_response
from starlette_webhooks.routes.operations import Call, Operation, operation, operation_with_body
from starlette_webhooks.routes.parameters import NAV, THEME, TOKEN

__all__ = ["create_portal", "get_portal", "show_portal"]

_PATH = "/dashboard"

show_portal = Operation(
    method="GET",
    path=_PATH,
    id="showPortal",
    summary="The portal for customers",
    scope="read",
    answer="text/html",
    parameters=(TOKEN, THEME, NAV),
)
"""Served by `Portal`, which responds with HTML."""


@operation("GET", "/portal", "Create a link to the portal for an hour", scope="read", answer="PortalAccess")
async def get_portal(call: Call[None]) -> Response:
    """Create a link that works once. Its session has the caller's scopes and lasts for an hour."""
    return await _give_access(call, PortalRequest())


@operation_with_body(
    "POST", "/portal", "Create a link to the portal", PortalRequest, scope="read", answer="PortalAccess"
)
async def create_portal(call: Call[PortalRequest]) -> Response:
    """Create a link that works once. Its session has the caller's scopes and the requested duration."""
    return await _give_access(call, call.body)


async def _give_access(call: Call[Body | None], asked: PortalRequest) -> Response:
    services, principal = call.services, call.principal
    if await call_authenticate(services.authenticate, call.request) is None:
        # A portal session must not renew itself, or a leaked link would never expire.
        raise Forbidden("A portal session cannot create another. Use an API key.", code="portal_session")
    access = await services.backend_portal(principal, asked.expires_in)
    if access is None:
        access = await _own_portal(call, asked.expires_in)
    record("portal.link_created", principal.tenant, actor_of(call.request, principal))
    return json_response({"url": access.url, "expiresAt": format_time(access.expires_at)})


async def _own_portal(call: Call[Body | None], expires_in: int) -> PortalAccess:
    services, principal, request = call.services, call.principal, call.request
    now = services.clock()
    scopes = principal.scopes & {services.settings.read_scope, services.settings.write_scope}
    owner = Principal(principal.tenant, scopes, principal.subject)
    token = await services.sessions.link(owner, expires_in)
    base = services.settings.public_url or str(
        request.url.replace(path=request.scope.get("root_path", ""), query="", fragment="")
    )
    return PortalAccess(f"{base}{_PATH}?token={token}", datetime.fromtimestamp(int(now) + expires_in, UTC))
