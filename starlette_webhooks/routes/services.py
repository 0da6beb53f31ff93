"""The services of a running `Webhooks` that the routes use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import anyio
from starlette.requests import HTTPConnection, Request

from starlette_webhooks.authentication import Authenticate, Principal, call_authenticate, check_same_origin, sends_key
from starlette_webhooks.concurrency import Turns
from starlette_webhooks.exceptions import Forbidden, Unauthorized
from starlette_webhooks.operational_events import catalog_of
from starlette_webhooks.portal.session import session_token
from starlette_webhooks.routes.limits import DailyQuota, OpenedSessions, RequestedDeliveries, TenantLimits
from starlette_webhooks.routes.messages import encode_json
from starlette_webhooks.scope import SERVICES, SESSION
from starlette_webhooks.sessions import Session, SessionRegister

if TYPE_CHECKING:
    from starlette_webhooks.backends.base import Backend, PortalAccess
    from starlette_webhooks.emitter import EmitContext
    from starlette_webhooks.event_types import EventTypes, SyncResult
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.streams import StreamHub
    from starlette_webhooks.types import Clock

__all__ = ["Access", "CatalogRegistration", "Services", "SessionExpired", "authorize", "make_services", "services_of"]

Access = Literal["read", "write"]


class SessionExpired(Unauthorized):
    """Raised for the cookie of a portal session that has expired."""

    message = "The session has expired. Sign in again."
    default_code = "session_expired"


class CatalogRegistration:
    """Registers the catalog of event types with the backend: once automatically, and on request."""

    def __init__(self, backend: Backend, event_types: EventTypes) -> None:
        self._backend = backend
        self._event_types = event_types
        self._one_at_a_time = anyio.Lock()
        self._begun = 0
        self._latest: SyncResult | None = None
        self._done = False
        self._document = b""

    async def register(self) -> SyncResult:
        """Register the catalog now. Callers that wait meanwhile share the next registration, which may take long."""
        begun = self._begun
        async with self._one_at_a_time:
            if self._latest is None or self._begun == begun:
                self._begun += 1
                self._latest = None
                self._latest = await self._backend.sync(self._event_types)
                self._done = True
            return self._latest

    async def ensure(self) -> None:
        """Register the catalog unless it is registered."""
        if not self._done:
            await self.register()

    def document(self, catalog: EventTypes) -> bytes:
        """Return a tenant's catalog as the routes show it. That of the host is encoded once."""
        if catalog is not self._event_types:
            return _document(catalog)
        if not self._document:
            self._document = _document(catalog)
        return self._document


def _document(catalog: EventTypes) -> bytes:
    return encode_json({"eventTypes": [event_type.document() for event_type in catalog]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The services that all routes of a running `Webhooks` share.

    Attributes:
        sessions: Issues portal sessions and resolves tickets.
        document: The OpenAPI document, for routes at this server: a path or a URL.
        asyncapi: The AsyncAPI document, for routes at this URL, in parts.
        retries: The tenants whose undelivered deliveries are being retried.
        scans: The turns of tenants whose undelivered deliveries are being counted, which may read all of them.
    """

    backend: Backend
    settings: WebhooksSettings
    event_types: EventTypes
    authenticate: Authenticate
    emit_context: EmitContext
    hub: StreamHub
    sessions: SessionRegister = field(repr=False)
    clock: Clock
    document: Callable[[str], bytes] = field(repr=False)
    asyncapi: Callable[[str], Sequence[bytes]] = field(repr=False)
    catalog: CatalogRegistration = field(repr=False)
    limits: TenantLimits = field(repr=False)
    test_quota: DailyQuota = field(repr=False)
    requested: RequestedDeliveries = field(repr=False)
    opened_sessions: OpenedSessions = field(default_factory=OpenedSessions, repr=False)
    retries: set[str] = field(default_factory=set, repr=False)
    scans: Turns = field(default_factory=Turns, repr=False)

    def event_types_of(self, tenant: str) -> EventTypes:
        """Return the catalog of a tenant."""
        return catalog_of(tenant, self.event_types, self.settings.operator_tenant)

    def scope_name(self, access: Access) -> str:
        """Return the name of a scope from the settings."""
        return self.settings.read_scope if access == "read" else self.settings.write_scope

    async def find_principal(self, connection: HTTPConnection) -> Principal | None:
        """Return the caller: as the host authenticates it, or by the portal session."""
        principal = await call_authenticate(self.authenticate, connection)
        if principal is not None:
            return principal
        session = None if sends_key(connection) else await self.find_session(connection)
        if session is None:
            return None
        connection.scope[SESSION] = session
        return session.principal

    async def find_session(self, connection: HTTPConnection) -> Session | None:
        """Return the portal session that the cookie of a request names."""
        token = session_token(connection)
        return None if token is None else await self.sessions.read(token)

    def has_expired_session(self, connection: HTTPConnection) -> bool:
        """Return whether a request without a key has the cookie of a portal session that has expired."""
        token = session_token(connection)
        return token is not None and not sends_key(connection) and self.sessions.has_expired(token)

    def admit(self, tenant: str) -> AbstractContextManager[None]:
        """Admit a call of this tenant, for the duration of the block. See `TenantLimits.admit`."""
        return self.limits.admit(tenant)

    def count_session(self, tenant: str) -> None:
        """Count a portal session that is being opened. See `OpenedSessions.take`."""
        self.opened_sessions.take(tenant)

    async def sign_out(self, session: Session) -> None:
        """End a session and the streams that it opened."""
        await self.sessions.end(session)
        await self.sessions.end_streams(self.hub)

    async def revoke_sessions(self, tenant: str) -> None:
        """End all sessions of a tenant with their links, tickets and streams."""
        await self.sessions.revoke(tenant)
        await self.backend.end_portal_access(tenant)
        await self.sessions.end_streams(self.hub)

    async def backend_portal(self, principal: Principal, expires_in: int = 3600) -> PortalAccess | None:
        """Return access to the backend's own portal, after registering the catalog once. None if it uses ours."""
        await self.catalog.ensure()
        write = self.settings.write_scope in principal.scopes
        return await self.backend.portal(principal.tenant, write=write, expires_in=expires_in)


def make_services(
    *,
    backend: Backend,
    settings: WebhooksSettings,
    event_types: EventTypes,
    authenticate: Authenticate,
    emit_context: EmitContext,
    hub: StreamHub,
    sessions: SessionRegister,
    clock: Clock,
    document: Callable[[str], bytes],
    asyncapi: Callable[[str], Sequence[bytes]],
) -> Services:
    """Return the services with the limits of the settings."""
    return Services(
        backend=backend,
        settings=settings,
        event_types=event_types,
        authenticate=authenticate,
        emit_context=emit_context,
        hub=hub,
        sessions=sessions,
        clock=clock,
        document=document,
        asyncapi=asyncapi,
        catalog=CatalogRegistration(backend, event_types),
        limits=TenantLimits(
            per_second=settings.calls_per_second, burst=settings.calls_burst, in_flight=settings.calls_in_flight
        ),
        test_quota=DailyQuota(settings.test_bytes_per_day),
        requested=RequestedDeliveries(settings.resends_per_minute, settings.endpoints_per_tenant),
    )


def services_of(request: Request) -> Services:
    """Return the services of the `Webhooks` that serves this request."""
    found: Services = request.scope[SERVICES]
    return found


async def authorize(request: Request, access: Access) -> Principal:
    """Return the principal of a request that has this scope.

    Raises:
        SessionExpired: The caller's portal session has expired.
        Unauthorized: The caller is unknown.
        Forbidden: The caller lacks the scope, or calls from another origin.
    """
    services = services_of(request)
    principal = await services.find_principal(request)
    if principal is None:
        raise SessionExpired if services.has_expired_session(request) else Unauthorized
    check_same_origin(request, services.settings.public_url)
    scope = services.scope_name(access)
    if scope not in principal.scopes:
        raise Forbidden(f"Requires the scope `{scope}`. Use a key that has it.", code="missing_scope")
    return principal
