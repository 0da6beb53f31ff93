"""`Webhooks`: the app to mount, its lifespan, and emitters for code outside requests."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from starlette_webhooks.authentication import Authenticate, default_authenticate
from starlette_webhooks.emitter import EmitContext, Emitter, resolve_user
from starlette_webhooks.event_types import EventType, EventTypes
from starlette_webhooks.exceptions import (
    BackendRefused,
    BackendUnavailable,
    NotRunning,
    QueueFull,
    RequestError,
    WebhooksError,
)
from starlette_webhooks.lifespans import SharedLifespan
from starlette_webhooks.middleware import WebhooksMiddleware
from starlette_webhooks.scope import DEFERRED, ROUTER, SERVICES

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from starlette_webhooks.backends.base import Backend
    from starlette_webhooks.portal.pages import Portal
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.types import Clock, TenantResolver

__all__ = ["Webhooks"]

logger = logging.getLogger("starlette_webhooks")


class Webhooks:
    """Webhooks and events for an app: mount it, add `WebhooksMiddleware`, and emit.

    Args:
        event_types: What may be emitted: `EventType(...)`, or plain names.
        authenticate: Tells who calls the routes: `(connection) -> Principal | None`, sync or async. By default the user
            and scopes of Starlette's `AuthenticationMiddleware`.
        tenant: Tells whose events a request of the host emits: `(connection) -> str | None`. By default the identity of
            the signed-in user.
        settings: How it behaves; read from the environment where not given.
        backend: The backend. By default Svix where `SVIX_API_KEY` is set, else SQLite.

    Raises:
        ValueError: An event type is registered twice, or a setting is wrong.
    """

    def __init__(
        self,
        *,
        event_types: Iterable[EventType | str] = (),
        authenticate: Authenticate | None = None,
        tenant: TenantResolver | None = None,
        settings: WebhooksSettings | None = None,
        backend: Backend | None = None,
    ) -> None:
        # Imported here, as Pydantic takes a tenth of a second that `import starlette_webhooks` need not.
        from starlette_webhooks.backends import default_backend
        from starlette_webhooks.routes import build_routes
        from starlette_webhooks.routes.portal import make_portal
        from starlette_webhooks.routes.services import Services
        from starlette_webhooks.settings import load_settings

        self.settings = settings or load_settings()
        self.event_types = EventTypes(event_types)
        self.backend = backend or default_backend(self.settings)
        self._context = EmitContext(
            self.backend, self.event_types, self.settings.max_event_bytes, tenant or resolve_user
        )
        self._services = Services(
            self.backend, self.settings, self.event_types, authenticate or default_authenticate, self._context
        )
        self._lifespan = SharedLifespan(self._run)
        self.router = Router(routes=build_routes(self._services), lifespan=self.lifespan)
        self._portal = make_portal(self._services, api=self)
        # No `ServerErrorMiddleware`: unexpected errors belong to the host.
        self._app: ASGIApp = ExceptionMiddleware(
            self.router, handlers={WebhooksError: _webhooks_error, HTTPException: _http_error}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request below the mount."""
        if scope["type"] == "lifespan":
            await self.router(scope, receive, send)
            return
        if not self._lifespan.running:
            raise NotRunning
        # `Router` raises HTTPException(404) only when an app is in scope.
        scope.setdefault("app", self)
        deferred: list[ASGIApp] = []
        inner = {**scope, SERVICES: self._services, ROUTER: self.router, DEFERRED: deferred}
        await self._app(_redact(inner, scope), receive, send)
        if deferred:
            # This frame keeps what it names, for as long as a stream is open.
            del inner
            await deferred.pop()(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Run the backend. Fits `Starlette(lifespan=...)`; `WebhooksMiddleware` enters it by itself.

        It is counted: several tasks may enter it, at the same time or nested, and the last to leave closes it.

        Raises:
            BackendUnavailable: The database cannot be opened.
            RuntimeError: It runs in another event loop.
        """
        async with self._lifespan.entered():
            yield

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        from starlette_webhooks.streams import StreamHub

        hub = StreamHub(self.backend, self.settings)
        self.backend.listen(hub)
        async with self.backend.lifespan(self.event_types):
            self._services.keys = await self.backend.secret_keys()
            async with hub.running():
                self._services._hub = hub
                try:
                    yield
                finally:
                    self._services._hub = None

    def emitter(self, tenant: str | int | UUID | None = None) -> Emitter:
        """An emitter outside requests: in jobs, scripts, inbound webhooks.

        Args:
            tenant: Whose events it emits; or pass `tenant=` to each `emit`.
        """
        emitter = Emitter(self._context)
        return emitter if tenant is None else emitter.for_tenant(tenant)

    def request_emitter(self, scope: Scope) -> Emitter:
        """The emitter of one request or websocket. `WebhooksMiddleware` puts it at `request.state.webhooks`."""
        return Emitter(self._context, scope=scope)

    def install(self, app: Starlette, *, path: str = "/api/v1/webhooks") -> None:
        """Mount at `path` and add `WebhooksMiddleware`, on a Starlette or FastAPI app.

        Middleware that is added after this one runs before it. So add what signs users in after it, too, or anywhere
        where it only fills the scope.
        """
        # First, as it refuses once the app has started.
        app.add_middleware(WebhooksMiddleware, webhooks=self)
        app.mount(path, self, name="webhooks")
        self._portal.public_path = path

    @property
    def portal(self) -> Portal:
        """The page where customers manage their endpoints, to mount beside the API: `Mount("/webhooks", ...)`."""
        return self._portal

    def set_clock(self, clock: Clock) -> None:
        """Go by this clock, in seconds since the epoch. For tests; see `starlette_webhooks.testing.Clock`."""
        self._services.clock = clock

    def drain(self) -> None:
        """End all open streams of this process soon, and refuse new ones; their clients connect elsewhere."""
        if self._lifespan.running:
            self._services.hub.drain()

    async def erase(self, tenant: str | int | UUID) -> None:
        """Remove all that is kept of a tenant: events, endpoints, attempts."""
        await self.backend.erase(str(tenant))
        if self._lifespan.running:
            self._services.hub.forget(str(tenant))

    def health(self) -> dict[str, Any]:
        """The state of the backend and the streams of this process, JSON-able. For the operator, not for customers."""
        health = self.backend.health()
        if self._lifespan.running:
            health["streams"] = self._services.hub.metrics()
        elif self._lifespan.error is not None:
            health["error"] = f"It ended unexpectedly: {self._lifespan.error!r}. Restart the process."
        return health


def _redact(inner: Scope, outer: Scope) -> Scope:
    # Servers log the query string of the scope that they gave, once the response starts.
    query: bytes = outer.get("query_string", b"")
    if b"ticket=" in query or b"token=" in query:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        kept = [(name, "redacted" if name in ("ticket", "token") else value) for name, value in pairs]
        outer["query_string"] = urlencode(kept).encode("latin-1")
    return inner


async def _webhooks_error(request: Request, error: Exception) -> Response:
    from starlette_webhooks.routes.services import json_response

    if isinstance(error, RequestError):
        response = json_response({"code": error.code, "detail": error.detail}, error.status_code)
        response.headers.update(error.headers)
        return response
    if isinstance(error, BackendRefused):
        logger.warning("The backend refused a call: %s (%s: %s)", error, error.code, error.detail)
        detail = error.detail or "The backend refused this."
        return json_response({"code": error.code or "refused", "detail": detail}, 422)
    if isinstance(error, (BackendUnavailable, QueueFull)):
        logger.warning("A call could not be served: %s", error)
        response = json_response({"code": "unavailable", "detail": "Not available at the moment. Try again."}, 503)
        response.headers["Retry-After"] = "5"
        return response
    raise error


async def _http_error(request: Request, error: Exception) -> Response:
    from starlette_webhooks.routes.services import json_response

    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        # Routes of one path answer for themselves alone.
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    codes = {404: "not_found", 405: "method_not_allowed"}
    details = {404: "There is nothing at this path.", 405: f"`{request.method}` is not allowed here. See `Allow`."}
    status = error.status_code
    content = {"code": codes.get(status, "error"), "detail": details.get(status, error.detail)}
    response = json_response(content, status)
    response.headers.update(headers)
    return response


def _methods(request: Request) -> set[str]:
    router: Router = request.scope[ROUTER]
    methods: set[str] = set()
    for route in router.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return methods
