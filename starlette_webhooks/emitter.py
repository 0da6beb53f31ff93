"""Firing events: `Emitter`, and where a request keeps it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import anyio
from starlette.datastructures import State
from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket

from starlette_webhooks.backends.base import Backend
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import InvalidEvent, NotRunning, TenantRequired, WebhooksError
from starlette_webhooks.payloads import new_event
from starlette_webhooks.submissions import Submission

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "STATE_KEY",
    "Emission",
    "Emissions",
    "EmitContext",
    "Emitter",
    "NewEvent",
    "WebhooksRequest",
    "WebhooksState",
    "WebhooksWebSocket",
    "get_emitter",
    "observers",
]

observers: list[Callable[[Sequence[Event]], None]] = []
"""Told of what this process emits. For tests."""

STATE_KEY = "webhooks"
_TENANT_LENGTH = 256
_PENDING = 256


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event for `Emitter.emit_many`. The fields are the arguments of `Emitter.emit`."""

    event_type: str | BaseModel
    data: Mapping[str, Any] | BaseModel | None = None
    tenant: str | int | UUID | None = None
    event_id: str | None = None
    channels: Sequence[str] = ()


class Emission:
    """An event on its way. Await it to wait until it is durable and to get it as stored.

    Attributes:
        event: The event. Where its `event_id` was used before, awaiting gives the first event instead.
    """

    __slots__ = ("_submission", "event")

    def __init__(self, event: Event, submission: Submission) -> None:
        self.event = event
        self._submission = submission

    def __await__(self) -> Generator[Any, None, Event]:
        return self._wait().__await__()

    async def _wait(self) -> Event:
        return (await self._submission.wait())[0]


class Emissions:
    """Events on their way in one commit. Await it to wait until all are durable.

    Attributes:
        events: The events, in the order given.
    """

    __slots__ = ("_submission", "events")

    def __init__(self, events: Sequence[Event], submission: Submission) -> None:
        self.events = events
        self._submission = submission

    def __await__(self) -> Generator[Any, None, Sequence[Event]]:
        return self._submission.wait().__await__()


@dataclass(frozen=True, slots=True)
class EmitContext:
    """What all emitters of a `Webhooks` share."""

    backend: Backend
    event_types: EventTypes
    max_bytes: int
    resolve_tenant: Callable[[HTTPConnection], Any]


class Emitter:
    """Fires events of a tenant. `request.state.webhooks` is one; `webhooks.emitter(tenant)` makes one elsewhere.

    `emit` may be called from async and sync code, from any thread.
    """

    __slots__ = ("_context", "_scope", "_tenant", "pending")

    def __init__(
        self, context: EmitContext, *, tenant: str | None = None, scope: Mapping[str, Any] | None = None
    ) -> None:
        self._context = context
        self._tenant = tenant
        self._scope = scope
        self.pending: list[Submission] = []
        """What was emitted and not yet flushed."""

    def emit(
        self,
        event_type: str | BaseModel,
        data: Mapping[str, Any] | BaseModel | None = None,
        *,
        tenant: str | int | UUID | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
    ) -> Emission:
        """Fire an event. Takes microseconds, and never waits or fails on delivery's account.

        The event is durable before the response of this request leaves. Awaiting the result waits for that here.

        Args:
            event_type: A registered name; or an instance of a Pydantic model that a registered type has as its schema.
            data: What happened: a dict that JSON can carry.
            tenant: Whose event it is, where it is not the emitter's.
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

    def emit_many(self, events: Iterable[NewEvent | tuple[str, Mapping[str, Any]] | BaseModel]) -> Emissions:
        """Fire several events in one commit: all of them are stored, or none. See `emit`.

        Args:
            events: `NewEvent(...)`, or `(event_type, data)`, or instances of models bound to event types.
        """
        prepared = tuple(self._prepare_one(given) for given in events)
        return Emissions(prepared, self._submit(prepared))

    async def send(
        self,
        event_type: str | BaseModel,
        data: Mapping[str, Any] | BaseModel | None = None,
        *,
        tenant: str | int | UUID | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
    ) -> Event:
        """Fire an event and return it once the engine has accepted it. Arguments as for `emit`.

        Raises:
            BackendError: The backend did not accept it: `BackendUnavailable` if trying again may help,
                `BackendRefused` if not. Also what `emit` raises.
        """
        event = self._prepare(event_type, data, tenant, event_id, channels)
        events = await self._context.backend.send((event,))
        for observe in observers:
            observe(events)
        return events[0]

    def for_tenant(self, tenant: str | int | UUID) -> Emitter:
        """The same emitter for events of another tenant."""
        emitter = Emitter(self._context, tenant=_tenant_name(tenant), scope=self._scope)
        emitter.pending = self.pending
        return emitter

    async def flush(self) -> None:
        """Wait until all that was emitted here is durable. `WebhooksMiddleware` does so before a response leaves.

        Raises:
            BackendError: Some of it could not be stored.
        """
        while self.pending:
            submission = self.pending[0]
            try:
                await submission.wait()
            finally:
                # Another task may have flushed meanwhile.
                if submission.finished and self.pending and self.pending[0] is submission:
                    self.pending.pop(0)

    def detach(self) -> None:
        """Let go of the request, which is over, so that the two do not wait for the garbage collector."""
        if self._tenant is not None:
            self._scope = {}
        elif self._scope is not None:
            # A task of the host's that lives on may yet emit, and its tenant is still to be found.
            self._scope = {**self._scope, "state": {**self._scope.get("state", {}), STATE_KEY: None}}

    def _submit(self, events: Sequence[Event]) -> Submission:
        submission = self._context.backend.submit(events)
        for observe in observers:
            observe(events)
        if self._scope is not None:
            if len(self.pending) >= _PENDING:
                # A connection that emits for long and sends nothing. What failed is still to be reported.
                self.pending[:] = [one for one in self.pending if not one.finished or one.failed]
            self.pending.append(submission)
        return submission

    def _prepare_one(self, given: NewEvent | tuple[str, Mapping[str, Any]] | BaseModel) -> Event:
        if isinstance(given, NewEvent):
            return self._prepare(given.event_type, given.data, given.tenant, given.event_id, given.channels)
        if isinstance(given, tuple):
            return self._prepare(given[0], given[1], None, None, ())
        return self._prepare(given, None, None, None, ())

    def _prepare(self, event_type: Any, data: Any, tenant: Any, event_id: str | None, channels: Sequence[str]) -> Event:
        context = self._context
        if isinstance(event_type, str):
            kind = context.event_types[event_type]
        elif hasattr(event_type, "model_dump"):
            if data is not None:
                raise InvalidEvent("Pass either a model or a name with `data`, not a model and `data`.")
            kind, data = context.event_types.for_model(type(event_type)), event_type
        else:
            raise InvalidEvent(f"`event_type` must be a name or a Pydantic model, not {type(event_type).__name__}.")
        data = {} if data is None else data
        kind.check(data)
        if type(data) is not dict and hasattr(data, "model_dump"):
            data = data.model_dump(mode="json", by_alias=True)
        return new_event(
            kind.name,
            data,
            tenant=self._tenant_of(tenant),
            event_id=event_id,
            channels=channels,
            max_bytes=context.max_bytes,
            mint_id=context.backend.mints_ids,
        )

    def _tenant_of(self, tenant: Any) -> str:
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


def _tenant_name(tenant: Any) -> str:
    name = str(tenant) if isinstance(tenant, (str, int, UUID)) and not isinstance(tenant, bool) else ""
    if not name or len(name) > _TENANT_LENGTH or not name.isprintable():
        raise TenantRequired(
            f"{tenant!r} is no tenant. Use a string of 1 to {_TENANT_LENGTH} printable characters, an int or a UUID."
        )
    return name


def resolve_user(connection: HTTPConnection) -> str | None:
    """The tenant of a request by default: the identity of Starlette's signed-in user."""
    user = connection.scope.get("user")
    # Users of other frameworks' middleware are of any type.
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    return str(user.identity)


async def flush_quietly(emitter: Emitter) -> None:
    """Flush while another error is on its way, which must not be replaced by this one."""
    with anyio.CancelScope(shield=True):
        while emitter.pending:
            try:
                await emitter.flush()
            except WebhooksError:
                continue


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
