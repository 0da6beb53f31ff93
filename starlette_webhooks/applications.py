"""`Webhooks`: the app to mount, its lifespan, and emitters for code outside requests."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from starlette_webhooks.audit import CODE, Actor, record
from starlette_webhooks.audited_dead_letters import AuditedDeadLetters
from starlette_webhooks.authentication import Authenticate, default_authenticate
from starlette_webhooks.blocking import BlockingEmitter
from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.emissions import Pending
from starlette_webhooks.emitter import EmitContext, Emitter, resolve_user
from starlette_webhooks.event_types import EventType, EventTypes
from starlette_webhooks.exceptions import NotRunning
from starlette_webhooks.health import Health
from starlette_webhooks.host_outbox import connect_outbox
from starlette_webhooks.lifespans import SharedLifespan
from starlette_webhooks.middleware import WebhooksMiddleware
from starlette_webhooks.operational_events import catalog_of
from starlette_webhooks.operational_reader import make_reader
from starlette_webhooks.probes import HealthApp
from starlette_webhooks.readiness import running_health, stopped_health, with_fresh_figures
from starlette_webhooks.recent_errors import RecentErrors
from starlette_webhooks.redaction import redact
from starlette_webhooks.scope import DEFERRED, SERVICES
from starlette_webhooks.telemetry import find_telemetry, watching

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from starlette.applications import Starlette

    from starlette_webhooks.backends.base import Backend
    from starlette_webhooks.console import Authorize, Console
    from starlette_webhooks.management import TenantEndpoints
    from starlette_webhooks.operational_reader import OperationalCallback
    from starlette_webhooks.outbox import Outbox
    from starlette_webhooks.portal.pages import Portal
    from starlette_webhooks.routes.services import Services
    from starlette_webhooks.sessions import SessionValid
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.streams import StreamHub, StreamResponse
    from starlette_webhooks.telemetry import Telemetry
    from starlette_webhooks.types import Clock, TenantId, TenantResolver

__all__ = ["Webhooks"]


class Webhooks:
    """Webhooks and events for an app: mount it, add `WebhooksMiddleware`, and emit.

    Args:
        event_types: The event types that may be emitted: `EventType(...)`, or plain names.
        authenticate: Returns the caller of a route: `(connection) -> Principal | None`. A sync function runs in a
            thread. By default, the user and scopes of Starlette's `AuthenticationMiddleware`.
        tenant: Returns the tenant that a request of the host emits for: `(connection) -> str | None`. By default, the
            identity of the signed-in user. `emit` calls it and must not block, so read the tenant from the request
            without looking it up.
        settings: By default, read from the environment.
        backend: The backend. By default, Svix if `SVIX_API_KEY` is set, otherwise the one that `WEBHOOKS_DATABASE`
            names.
        session_valid: Returns whether the key or user behind a portal session, a stream ticket or a stream still
            exists: `(principal) -> bool`, by its `tenant` and `subject`. A sync function runs in a thread. It is called
            at most once a minute per principal and process.
        outbox: A table in your own database, for `emit(..., within=session)`. By default, the table of the PostgreSQL
            backend, for hosts whose tables are in the same database.
        operational: Called with each operational event, in one process at a time: `async (event) -> None`. Requires
            `WEBHOOKS_OPERATOR_TENANT`. A crash repeats one event and skips none.
        telemetry: Spans and metrics. By default, with the global providers of OpenTelemetry if its API is installed.

    Raises:
        ValueError: An event type is registered twice, or a setting is not valid.
    """

    def __init__(
        self,
        *,
        event_types: Iterable[EventType | str] = (),
        authenticate: Authenticate | None = None,
        tenant: TenantResolver | None = None,
        settings: WebhooksSettings | None = None,
        backend: Backend | None = None,
        session_valid: SessionValid | None = None,
        outbox: Outbox | None = None,
        operational: OperationalCallback | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        # Imported here, because importing Pydantic takes a tenth of a second.
        from starlette_webhooks.backends import default_backend
        from starlette_webhooks.environment import load_settings
        from starlette_webhooks.portal.pages import Portal
        from starlette_webhooks.routes import OPERATIONS, build_routes
        from starlette_webhooks.routes.asyncapi import AsyncAPIDocument
        from starlette_webhooks.routes.document import OpenAPIDocument
        from starlette_webhooks.routes.errors import ERROR_HANDLERS

        self.settings = settings = settings or load_settings()
        self.event_types = EventTypes(event_types)
        self.backend = backend or default_backend(settings)
        self.outbox = outbox or self.backend.outbox
        self._host_outbox = None if outbox is None else connect_outbox(outbox, self.backend)
        self._refresh_figures = (self._host_outbox or self.backend).refresh_figures
        self.backend.telemetry = telemetry = telemetry or find_telemetry()
        self._operational = make_reader(operational, self.backend, settings)
        self._emit_context = EmitContext(
            self.backend, self.event_types, settings.max_event_bytes, tenant or resolve_user, self.outbox, telemetry
        )
        self._authenticate = authenticate or default_authenticate
        self._session_valid = session_valid
        self._clock: Clock = time.time
        self._document = OpenAPIDocument(OPERATIONS, self.event_types, settings)
        self._asyncapi = AsyncAPIDocument(self.event_types, title=settings.portal_brand)
        self._services: Services | None = None
        self._tasks: TaskGroup | None = None
        self._errors = RecentErrors()
        self._lifespan = SharedLifespan(self._run)
        signature = self.backend.signature_headers
        self._portal = Portal(settings, self._running_services, api=self, signature=signature)
        page = Portal(settings, self._running_services, signature=signature)
        # A redirect to the path with or without a slash would have the wrong scheme behind a proxy that ends TLS.
        self._router = Router(routes=build_routes(page), lifespan=self.lifespan, redirect_slashes=False)
        # No `ServerErrorMiddleware`: unexpected errors belong to the host.
        self._app: ASGIApp = ExceptionMiddleware(self._router, handlers=ERROR_HANDLERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request below the mount."""
        if scope["type"] == "lifespan":
            await self._router(scope, receive, send)
            return
        # `Router` raises HTTPException(404) only when an app is in scope.
        scope.setdefault("app", self)
        deferred: list[StreamResponse] = []
        inner = {**scope, SERVICES: self._running_services(), DEFERRED: deferred}
        await self._app(redact(inner, scope), receive, send)
        if deferred:
            # While a stream is open, this frame keeps its variables in memory.
            del inner
            await deferred.pop().serve(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Run the backend. Fits `Starlette(lifespan=...)`. `WebhooksMiddleware` enters it automatically.

        Several tasks may enter it, also nested or at the same time. The last one to leave closes the backend.

        Raises:
            BackendUnavailable: The database cannot be opened.
            RuntimeError: It is running in another event loop.
        """
        async with self._lifespan.entered():
            yield

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        from starlette_webhooks.streams import StreamHub

        hub = StreamHub(self.backend, self.settings)
        self.backend.listen(hub)
        with self._errors.watching(), watching(self._emit_context.telemetry, self.health):
            async with self._open(hub):
                yield

    @asynccontextmanager
    async def _open(self, hub: StreamHub) -> AsyncIterator[None]:
        from starlette_webhooks.routes.services import make_services
        from starlette_webhooks.sessions import SessionRegister

        async with self.backend.lifespan(self.event_types):
            keys = await self.backend.secret_keys()
            services = make_services(
                backend=self.backend,
                settings=self.settings,
                event_types=self.event_types,
                authenticate=self._authenticate,
                emit_context=self._emit_context,
                hub=hub,
                sessions=SessionRegister(keys, self.backend.meta, clock=self._now, valid=self._session_valid),
                clock=self._now,
                document=self._document.render,
                asyncapi=self._asyncapi.render,
            )
            relaying = nullcontext() if self._host_outbox is None else self._host_outbox.running()
            reading = nullcontext() if self._operational is None else running_beside(self._operational.run)
            watching = running_beside(partial(services.sessions.watch, hub))
            async with relaying, hub.running(), watching as tasks, reading:
                self._services, self._tasks = services, tasks
                try:
                    yield
                finally:
                    self._services = self._tasks = None

    def _now(self) -> float:
        return self._clock()

    def _running_services(self) -> Services:
        # A forked child has its parent's services, which do not run here.
        if self._services is None or not self._lifespan.running:
            raise NotRunning
        return self._services

    def emitter(self, tenant: TenantId | None = None) -> Emitter:
        """Return an emitter for code outside requests: jobs, scripts, inbound webhooks.

        Args:
            tenant: The tenant of its events. Alternatively, pass `tenant=` to each `emit`.
        """
        emitter = Emitter(self._emit_context)
        return emitter if tenant is None else emitter.for_tenant(tenant)

    def blocking(self, tenant: TenantId | None = None) -> BlockingEmitter:
        """Return a blocking emitter for workers without an event loop, such as Celery's. Enter it once per process.

        `with webhooks.blocking() as emitter: emitter.send("invoice.paid", {...}, tenant="acme")`
        """
        return BlockingEmitter(self.lifespan, self.emitter(tenant))

    def endpoints(self, tenant: TenantId) -> TenantEndpoints:
        """Manage a tenant's endpoints from code, with the rules of the routes: `await endpoints.create(url)`."""
        from starlette_webhooks.management import TenantEndpoints

        catalog = catalog_of(str(tenant), self.event_types, self.settings.operator_tenant)
        return TenantEndpoints(self.backend, catalog, str(tenant), max_event_bytes=self.settings.max_event_bytes)

    def request_emitter(self, scope: Scope, pending: Pending | None = None) -> Emitter:
        """Return the emitter of a scope, for middleware of your own. Only `WebhooksMiddleware` passes `pending`."""
        pending = Pending() if pending is None else pending
        pending.telemetry = self._emit_context.telemetry
        return Emitter(self._emit_context, scope=scope, pending=pending)

    def install(self, app: Starlette, *, path: str = "/api/v1/webhooks") -> None:
        """Mount at `path` and add `WebhooksMiddleware`, on a Starlette or FastAPI app.

        Middleware that is added later runs earlier. Add middleware that signs users in after this call, or anywhere if
        it only fills the scope. Raises `RuntimeError` if the app has already started.
        """
        # First, because it raises if the app has already started.
        app.add_middleware(WebhooksMiddleware, webhooks=self)
        app.mount(path, self, name="webhooks")
        self._portal.public_path = path

    @property
    def portal(self) -> Portal:
        """The portal for customers, to mount beside the API: `Mount("/webhooks", webhooks.portal)`."""
        return self._portal

    def set_clock(self, clock: Clock) -> None:
        """Use this clock, in seconds since the epoch. For tests. See `starlette_webhooks.testing.Clock`."""
        self._clock = clock

    def drain(self) -> None:
        """End all open streams of this process, and refuse new ones. Clients connect to another process."""
        if self._services is not None and self._lifespan.running:
            self._services.hub.drain()

    async def revoke_sessions(self, tenant: TenantId) -> None:
        """End all portal sessions, portal links and stream tickets of a tenant that exist now.

        Open streams that they authorised end too: in this process immediately, in others within ten seconds. Calls with
        them are refused within five seconds. The host revokes API keys and its own sessions itself.

        Raises:
            NotRunning: Outside the lifespan.
            BackendError: The database, or Svix, cannot be reached.
        """
        await self._running_services().revoke_sessions(str(tenant))
        record("sessions.revoked", str(tenant), CODE)

    async def reencrypt(self) -> int:
        """Encrypt all secrets in the database with the first key of `WEBHOOKS_ENCRYPTION_KEY`.

        Call it once after a key was added or replaced, when all processes have the new key. Returns how many endpoints
        were changed.

        Raises:
            NotRunning: Outside the lifespan.
            BackendUnavailable: The database is unavailable, or contains a secret that none of the keys decrypts.
        """
        count = await self.backend.reencrypt()
        record("secrets.encrypted", "", CODE, count=str(count))
        return count

    async def check_outbox(self) -> None:
        """Check that the outbox has its tables, after the host has started. `RuntimeError` says what to do if not."""
        if self._host_outbox is not None:
            await self._host_outbox.check()

    async def erase(self, tenant: TenantId) -> None:
        """Remove everything that is stored for a tenant: events, also those in the outbox, endpoints, attempts.

        If it is interrupted, call it again. Raises `NotRunning` outside the lifespan, and `BackendError` if the
        database or Svix cannot be reached.
        """
        if self._host_outbox is not None:
            await self._host_outbox.erase(str(tenant))
        await self.backend.erase(str(tenant))
        record("tenant.erased", str(tenant), CODE)
        if self._services is not None and self._lifespan.running:
            self._services.hub.forget(str(tenant))

    async def dead_letters(self, *, tenant: TenantId | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the events that were refused permanently on their way into the log or to Svix, oldest first.

        Fix the cause, then call `redrive_dead_letters`. They hold up nothing else.

        Args:
            tenant: Only those of this tenant.
            limit: The maximum number of them.

        Raises:
            NotRunning: Outside the lifespan.
            BackendUnavailable: The database is unavailable.
        """
        return await self._dead_letters().list(tenant=None if tenant is None else str(tenant), limit=limit)

    async def redrive_dead_letters(self, tenant: TenantId | None = None, *, ids: Collection[str] | None = None) -> int:
        """Queue dead letters again, in their order, and return how many. What is refused again is dead-lettered again.

        Args:
            tenant: Only those of this tenant.
            ids: Only those with these `DeadLetter.id`s.

        Raises:
            NotRunning: Outside the lifespan.
            BackendUnavailable: The database is unavailable.
        """
        return await self._dead_letters().redrive(None if tenant is None else str(tenant), ids=ids)

    async def discard_dead_letters(self, ids: Collection[str]) -> int:
        """Delete dead letters forever, by their `ids`, and return how many.

        Raises:
            NotRunning: Outside the lifespan.
            BackendUnavailable: The database is unavailable.
        """
        return await self._dead_letters().discard(ids)

    def _dead_letters(self, actor: Actor = CODE) -> AuditedDeadLetters:
        self._running_services()
        keepers = [one for one in (self._host_outbox, self.backend) if one is not None]
        return AuditedDeadLetters(keepers, actor)

    def health(self) -> Health:
        """Return the state of the backend and this process's streams, as JSON values. For operators, not customers.

        Any thread may call it, and it waits for nothing. Figures over all tenants are read in the background while it
        is called, and are then at most two seconds old. After a minute without a call, the next one returns older ones:
        see `figuresAgeSeconds`, and `fresh_health`.
        """
        return self._health(figures=True)

    async def fresh_health(self) -> Health:
        """Like `health()`, but read figures again that are older than two seconds. Waits for a second at most."""
        return await with_fresh_figures(self.health, self._refresh_figures)

    def health_app(self) -> HealthApp:
        """Return an app with `GET /healthz` and `GET /readyz`, to mount: `Mount("/-", webhooks.health_app())`."""
        return HealthApp(self._health, self._refresh_figures, self.settings)

    def console(self, *, authorize: Authorize, read_only: bool = False) -> Console:
        """Return the console over all tenants, to mount: `Mount("/operate", webhooks.console(authorize=...))`.

        Args:
            authorize: Returns the name of the operator, or an `Operator`, or None for everybody else:
                `(connection) -> str | Operator | None`. A sync function runs in a thread. Everybody else gets the same
                404 as for any path that does not exist.
            read_only: Whether all operators may only look. `Operator(name, read_only=True)` restricts one of them.

        Raises:
            TypeError: `authorize` is not a function.
        """
        from starlette_webhooks.console import Console

        return Console(self, self._start, self._now, self._dead_letters, authorize=authorize, read_only=read_only)

    def _start(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a task that ends with the lifespan, at the latest. It must not raise."""
        self._running_services()
        assert self._tasks is not None
        self._tasks.start_soon(function)

    def _health(self, *, figures: bool) -> Health:
        health = self.backend.health(figures=figures)
        if self._host_outbox is not None:
            self._host_outbox.add_health(health, figures=figures)
        # A forked child has its parent's backend, which does not run here.
        if self._services is None or not self._lifespan.running:
            return stopped_health(health, self._lifespan.error)
        return running_health(health, self.settings, self._services.hub.metrics(), self._errors.latest())
