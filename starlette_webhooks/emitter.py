"""Emitting events: `Emitter`, and where a request keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, overload
from uuid import UUID

from starlette.datastructures import State
from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket

from starlette_webhooks.backends.base import Backend
from starlette_webhooks.emissions import Emission, Emissions, NewEvent, Pending
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import InvalidEvent, NotRunning, TenantRequired, excerpt
from starlette_webhooks.outbox.writing import UncommittedSubmission, Written
from starlette_webhooks.payloads import make_event
from starlette_webhooks.submissions import Submission

if TYPE_CHECKING:
    from starlette_webhooks.outbox import Outbox
    from starlette_webhooks.telemetry import Telemetry
    from starlette_webhooks.types import EventData, TenantId, TenantResolver, TypedData

__all__ = [
    "STATE_KEY",
    "EmitContext",
    "Emitter",
    "WebhooksRequest",
    "WebhooksState",
    "WebhooksWebSocket",
    "detach",
    "get_emitter",
    "observers",
]

observers: list[Callable[[Sequence[Event], EventTypes], None]] = []
"""Called with the events that this process emits, and their catalog. For tests."""

STATE_KEY = "webhooks"
_TENANT_LENGTH = 256
_NOBODY = (
    "This request has no tenant: nobody is signed in, or `Webhooks(tenant=...)` returned None. Refuse such requests "
    "before you emit, for example with 401, or pass `tenant=`."
)


@dataclass(frozen=True, slots=True)
class EmitContext:
    """The state that all emitters of a `Webhooks` share.

    Attributes:
        outbox: The outbox for events that are emitted within a transaction of the host, or None.
        telemetry: Spans and metrics, or None.
    """

    backend: Backend
    event_types: EventTypes
    max_bytes: int
    resolve_tenant: TenantResolver
    outbox: Outbox | None = None
    telemetry: Telemetry | None = None


class Emitter:
    """Emits events of a tenant. Use `request.state.webhooks` in requests, and `webhooks.emitter(tenant)` elsewhere.

    You can call `emit` from async and sync code, and from any thread.
    """

    __slots__ = ("_context", "_pending", "_scope", "_tenant")

    def __init__(
        self,
        context: EmitContext,
        *,
        tenant: str | None = None,
        scope: Mapping[str, Any] | None = None,
        pending: Pending | None = None,
    ) -> None:
        self._context = context
        self._tenant = tenant
        self._scope = scope
        self._pending = pending

    @overload
    def emit(
        self,
        event_type: str,
        data: EventData | None = None,
        *,
        tenant: TenantId | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
        within: object = None,
    ) -> Emission: ...

    @overload
    def emit(
        self,
        event_type: TypedData,
        *,
        tenant: TenantId | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
        within: object = None,
    ) -> Emission: ...

    def emit(
        self,
        event_type: str | TypedData,
        data: EventData | None = None,
        *,
        tenant: TenantId | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
        within: object = None,
    ) -> Emission:
        """Emit an event. Takes microseconds, and never waits for deliveries or fails because of them.

        The event is durable before the response of this request is sent. Await the result to wait for this yourself.

        Args:
            event_type: A registered name, or an instance of the class that is the schema of a registered type.
            data: What happened, as a dict or an instance of a class. It is encoded as Pydantic does in JSON mode.
            tenant: The tenant of the event, if it is not the emitter's.
            event_id: Your own key for this event. If you emit it again for the same tenant, you get the first event. 1
                to 256 characters of `a-z A-Z 0-9 . _ -`, not starting with `msg_`.
            channels: Up to 5 labels that endpoints and streams can filter by.
            within: Your session or connection. The event becomes part of its transaction, and exists if and only if
                that commits. A sync or async session of SQLAlchemy, or a sync connection of SQLAlchemy, psycopg or
                sqlite3. For async connections, use `send`. Requires `Webhooks(outbox=...)`, unless the backend is
                PostgreSQL in the same database. Does not require a running lifespan.

        Raises:
            UnknownEventType: No such type is registered.
            InvalidEvent: The data does not match the type, is not valid JSON, or is too large.
            TenantRequired: No tenant for this event.
            QueueFull: Too many events wait for their commit, so this one was not accepted.
            NotRunning: The lifespan of `Webhooks` is not running.
            TypeError: `within` has an unsupported type.
            RuntimeError: `within` uses another database, or commits each statement separately.
        """
        event = self._prepare(event_type, data, tenant, event_id, channels)
        if within is not None:
            self._note(self._outbox.write(within, (event,), self._observer))
            return Emission(event, UncommittedSubmission())
        return Emission(event, self._submit((event,)))

    def emit_many(
        self, events: Iterable[NewEvent | tuple[str, EventData] | TypedData], *, within: object = None
    ) -> Emissions:
        """Emit several events in one commit: all of them are stored, or none. Raises the errors of `emit`.

        Args:
            events: `NewEvent(...)`, `(event_type, data)`, or instances of classes that are schemas of event types.
            within: See `emit`. One statement inserts all events if the driver supports it.
        """
        prepared = tuple([self._prepare_one(given) for given in events])
        if within is not None:
            if prepared:
                self._note(self._outbox.write(within, prepared, self._observer))
            return Emissions(prepared, UncommittedSubmission())
        return Emissions(prepared, self._submit(prepared))

    @overload
    async def send(
        self,
        event_type: str,
        data: EventData | None = None,
        *,
        tenant: TenantId | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
        within: object = None,
    ) -> Event: ...

    @overload
    async def send(
        self,
        event_type: TypedData,
        *,
        tenant: TenantId | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
        within: object = None,
    ) -> Event: ...

    async def send(
        self,
        event_type: str | TypedData,
        data: EventData | None = None,
        *,
        tenant: TenantId | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
        within: object = None,
    ) -> Event:
        """Emit an event and return it once the backend has accepted it. Arguments as for `emit`.

        `within` can also be an async connection of SQLAlchemy, psycopg or asyncpg. `send` then returns once the event
        is in the transaction.

        Raises:
            BackendError: The backend did not accept it: `BackendUnavailable` if you can try again, `BackendRefused` if
                not. Also raises the errors of `emit`.
        """
        event = self._prepare(event_type, data, tenant, event_id, channels)
        return (await self._send((event,), within))[0]

    async def send_many(
        self, events: Iterable[NewEvent | tuple[str, EventData] | TypedData], *, within: object = None
    ) -> Sequence[Event]:
        """Emit several events like `emit_many`, and wait for them like `send`. Raises the errors of both."""
        return await self._send(tuple([self._prepare_one(given) for given in events]), within)

    def prepare(
        self,
        event_type: str | TypedData,
        data: EventData | None = None,
        *,
        tenant: TenantId | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
    ) -> Event:
        """Create an event without emitting it, for `Outbox.statement`. Arguments and errors as for `emit`."""
        return self._prepare(event_type, data, tenant, event_id, channels)

    def for_tenant(self, tenant: TenantId) -> Emitter:
        """Return an emitter of the same request for another tenant: 1 to 256 printable characters, an int or a UUID."""
        return Emitter(self._context, tenant=_tenant_name(tenant), scope=self._scope, pending=self._pending)

    async def flush(self) -> None:
        """Wait until all events of this request are durable. The middleware does this before it sends a response.

        Raises:
            BackendError: Some events could not be stored.
        """
        if self._pending is not None:
            await self._pending.flush()

    async def _send(self, events: Sequence[Event], within: object) -> Sequence[Event]:
        if within is not None:
            if events:
                self._note(await self._outbox.write_async(within, events, self._observer))
            return events
        telemetry = self._context.telemetry
        if telemetry is None or not telemetry.active:
            accepted = await self._context.backend.send(events)
        else:
            with telemetry.committing(len(events)):
                accepted = await self._context.backend.send(events)
        self._observe(accepted)
        return accepted

    @property
    def _outbox(self) -> Outbox:
        outbox = self._context.outbox
        if outbox is None:
            raise RuntimeError(
                "There is no outbox for `within`. Give your database one: `Webhooks(outbox=Outbox(engine))`, with "
                "`from starlette_webhooks.outbox import Outbox`."
            )
        return outbox

    def _note(self, written: Written) -> None:
        if self._pending is not None:
            self._pending.within(written)

    @property
    def _observer(self) -> Callable[[Sequence[Event]], None] | None:
        telemetry = self._context.telemetry
        # Without an observer, the outbox need not keep events in memory until they were moved.
        return self._observe if observers or (telemetry is not None and telemetry.active) else None

    def _observe(self, events: Sequence[Event]) -> None:
        telemetry = self._context.telemetry
        if telemetry is not None and telemetry.active:
            telemetry.emitted(events)
        for observe in observers:
            observe(events, self._context.event_types)

    def _submit(self, events: Sequence[Event]) -> Submission:
        submission = self._context.backend.submit(events)
        self._observe(events)
        if self._pending is not None:
            self._pending.add(submission, len(events))
        return submission

    def _prepare_one(self, given: NewEvent | tuple[str, EventData] | TypedData) -> Event:
        if isinstance(given, NewEvent):
            return self._prepare(given.event_type, given.data, given.tenant, given.event_id, given.channels)
        if isinstance(given, tuple):
            return self._prepare(given[0], given[1], None, None, ())
        return self._prepare(given, None, None, None, ())

    def _prepare(
        self,
        event_type: str | TypedData,
        data: EventData | None,
        tenant: TenantId | None,
        event_id: str | None,
        channels: Sequence[str],
    ) -> Event:
        context = self._context
        if isinstance(event_type, str):
            kind = context.event_types[event_type]
        else:
            kind = context.event_types.of(event_type)
            if data is not None:
                raise InvalidEvent("Pass either an instance of a class, or a name with `data`, not both.")
            data = event_type
        event = make_event(
            kind.name,
            kind.encode(data),
            tenant=self._tenant_of(tenant),
            event_id=event_id,
            channels=channels,
            max_bytes=context.max_bytes,
            mint_id=context.backend.mints_ids,
            milliseconds=context.backend.event_time(),
        )
        telemetry = context.telemetry
        return telemetry.emitting(event) if telemetry is not None and telemetry.active else event

    def _tenant_of(self, tenant: TenantId | None) -> str:
        if tenant is not None:
            return _tenant_name(tenant)
        if self._tenant is None:
            if self._scope is None:
                raise TenantRequired
            found = self._context.resolve_tenant(HTTPConnection(self._scope))  # type: ignore[arg-type]
            if found is None:
                raise TenantRequired(_NOBODY)
            self._tenant = _tenant_name(found)
        return self._tenant


def detach(emitter: Emitter) -> None:
    """Let go of a request that is over, so that the two do not wait for the garbage collector."""
    if emitter._tenant is not None:
        emitter._scope = None
    elif emitter._scope is not None:
        # A task of the host that is still running may emit, and its tenant has not been resolved yet.
        emitter._scope = {**emitter._scope, "state": {**emitter._scope.get("state", {}), STATE_KEY: None}}


def _tenant_name(tenant: object) -> str:
    name = str(tenant) if isinstance(tenant, (str, int, UUID)) and not isinstance(tenant, bool) else ""
    if not name or len(name) > _TENANT_LENGTH or not name.isprintable():
        raise TenantRequired(
            f"{excerpt(repr(tenant))} is not a valid tenant. Use a string of 1 to {_TENANT_LENGTH} printable "
            "characters, an int or a UUID."
        )
    return name


def resolve_user(connection: HTTPConnection) -> str | None:
    """Return the default tenant of a request: the identity of Starlette's signed-in user."""
    user = connection.scope.get("user")
    # Users of other frameworks' middleware can be of any type.
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    return str(user.identity)


class WebhooksState(State):
    """`request.state` with the emitter as `webhooks`. Subclass it to add the host's own names."""

    webhooks: Emitter


class WebhooksRequest(Request[WebhooksState]):
    """A `Request` with a typed `state.webhooks`. For annotations in Starlette and FastAPI."""


class WebhooksWebSocket(WebSocket[WebhooksState]):
    """A `WebSocket` with a typed `state.webhooks`. For annotations in Starlette and FastAPI."""


class SupportsScope(Protocol):
    """A request or websocket of Starlette, FastAPI or Litestar."""

    @property
    def scope(self) -> Mapping[str, Any]: ...


def get_emitter(connection: SupportsScope) -> Emitter:
    """Return the emitter of a connection: a request or websocket of Starlette, FastAPI or Litestar.

    Raises:
        NotRunning: `WebhooksMiddleware` is not installed.
    """
    emitter = connection.scope.get("state", {}).get(STATE_KEY)
    if not isinstance(emitter, Emitter):
        raise NotRunning("`WebhooksMiddleware` (in Litestar `WebhooksPlugin`) must be installed to emit events.")
    return emitter
