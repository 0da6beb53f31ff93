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
from starlette_webhooks.payloads import make_event
from starlette_webhooks.submissions import Submission

if TYPE_CHECKING:
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
"""Called with what this process emits, and the catalog that it is of. For tests."""

STATE_KEY = "webhooks"
_TENANT_LENGTH = 256


@dataclass(frozen=True, slots=True)
class EmitContext:
    """What all emitters of a `Webhooks` share."""

    backend: Backend
    event_types: EventTypes
    max_bytes: int
    resolve_tenant: TenantResolver


class Emitter:
    """Emits events of a tenant. `request.state.webhooks` is one; `webhooks.emitter(tenant)` makes one elsewhere.

    `emit` may be called from async and sync code, from any thread.
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
    ) -> Emission: ...

    @overload
    def emit(
        self,
        event_type: TypedData,
        *,
        tenant: TenantId | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
    ) -> Emission: ...

    def emit(
        self,
        event_type: str | TypedData,
        data: EventData | None = None,
        *,
        tenant: TenantId | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
    ) -> Emission:
        """Emit an event. Takes microseconds, and never waits for deliveries or fails because of them.

        The event is durable before the response of this request leaves. Await the result to wait for that here.

        Args:
            event_type: A registered name; or an instance of the class that a registered type has as its schema.
            data: What happened: a dict, or an instance of a class. Written as JSON, as Pydantic writes it.
            tenant: The tenant of the event, if it is not the emitter's.
            event_id: Your own key for this event: emitted again for the same tenant, it gives the first event. 1 to 256
                of `a-z A-Z 0-9 . _ -`, not beginning with `msg_`.
            channels: Up to 5 labels that endpoints and streams may filter by.

        Raises:
            UnknownEventType: No such type is registered.
            InvalidEvent: The data does not fit the type, JSON cannot carry it, or it is too large.
            TenantRequired: No tenant for this event.
            QueueFull: Too many events wait to be written; this one was not accepted.
            NotRunning: `Webhooks` has no running lifespan.
        """
        event = self._prepare(event_type, data, tenant, event_id, channels)
        return Emission(event, self._submit((event,)))

    def emit_many(self, events: Iterable[NewEvent | tuple[str, EventData] | TypedData]) -> Emissions:
        """Emit several events in one commit: all of them are stored, or none. See `emit`.

        Args:
            events: `NewEvent(...)`, or `(event_type, data)`, or instances of classes bound to event types.
        """
        prepared = tuple([self._prepare_one(given) for given in events])
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
    ) -> Event: ...

    @overload
    async def send(
        self,
        event_type: TypedData,
        *,
        tenant: TenantId | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
    ) -> Event: ...

    async def send(
        self,
        event_type: str | TypedData,
        data: EventData | None = None,
        *,
        tenant: TenantId | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
    ) -> Event:
        """Emit an event and return it once the backend has accepted it. Arguments as for `emit`.

        Raises:
            BackendError: The backend did not accept it: `BackendUnavailable` if trying again may help,
                `BackendRefused` if not. Also what `emit` raises.
        """
        event = self._prepare(event_type, data, tenant, event_id, channels)
        events = await self._context.backend.send((event,))
        for observe in observers:
            observe(events, self._context.event_types)
        return events[0]

    def for_tenant(self, tenant: TenantId) -> Emitter:
        """The same emitter for events of another tenant."""
        return Emitter(self._context, tenant=_tenant_name(tenant), scope=self._scope, pending=self._pending)

    async def flush(self) -> None:
        """Wait until all that this request emitted is durable. The middleware does so before a response leaves.

        Raises:
            BackendError: Some of it could not be stored.
        """
        if self._pending is not None:
            await self._pending.flush()

    def _submit(self, events: Sequence[Event]) -> Submission:
        submission = self._context.backend.submit(events)
        for observe in observers:
            observe(events, self._context.event_types)
        if self._pending is not None:
            self._pending.add(submission)
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
        return make_event(
            kind.name,
            kind.encode(data),
            tenant=self._tenant_of(tenant),
            event_id=event_id,
            channels=channels,
            max_bytes=context.max_bytes,
            mint_id=context.backend.mints_ids,
            milliseconds=context.backend.event_time(),
        )

    def _tenant_of(self, tenant: TenantId | None) -> str:
        if tenant is not None:
            return _tenant_name(tenant)
        if self._tenant is None:
            if self._scope is None:
                raise TenantRequired
            found = self._context.resolve_tenant(HTTPConnection(self._scope))  # type: ignore[arg-type]
            if found is None:
                raise TenantRequired
            self._tenant = _tenant_name(found)
        return self._tenant


def detach(emitter: Emitter) -> None:
    """Let go of a request that is over, so that the two do not wait for the garbage collector."""
    if emitter._tenant is not None:
        emitter._scope = None
    elif emitter._scope is not None:
        # A task of the host's that lives on may still emit, and its tenant is yet to be found.
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
    """The tenant of a request by default: the identity of Starlette's signed-in user."""
    user = connection.scope.get("user")
    # Users of other frameworks' middleware are of any type.
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    return str(user.identity)


class WebhooksState(State):
    """`request.state` of a host with `WebhooksMiddleware`. Subclass it to add the host's own names."""

    webhooks: Emitter


class WebhooksRequest(Request[WebhooksState]):
    """A `Request` whose `state.webhooks` type checkers know. For annotations in Starlette and FastAPI."""


class WebhooksWebSocket(WebSocket[WebhooksState]):
    """A `WebSocket` whose `state.webhooks` type checkers know. For annotations in Starlette and FastAPI."""


class SupportsScope(Protocol):
    """A request or websocket of Starlette, FastAPI or Litestar."""

    @property
    def scope(self) -> Mapping[str, Any]: ...


def get_emitter(connection: SupportsScope) -> Emitter:
    """The emitter of a request or websocket.

    Raises:
        NotRunning: `WebhooksMiddleware` is not installed.
    """
    emitter = connection.scope.get("state", {}).get(STATE_KEY)
    if not isinstance(emitter, Emitter):
        raise NotRunning("`WebhooksMiddleware` (in Litestar `WebhooksPlugin`) must be installed to emit events.")
    return emitter
