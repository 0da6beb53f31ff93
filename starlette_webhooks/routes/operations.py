"""Operations: each route is declared once. The declaration is enforced, and the OpenAPI document is built from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypedDict, TypeVar, Unpack, cast

from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.types import ASGIApp

from starlette_webhooks.authentication import Principal
from starlette_webhooks.bodies import Body
from starlette_webhooks.event_type_names import check_in_log
from starlette_webhooks.exceptions import InvalidRequest, WebhooksError
from starlette_webhooks.routes.messages import read_body
from starlette_webhooks.routes.pages import bounded
from starlette_webhooks.routes.parameters import EVENT_TYPES, TICKET, Parameter, read_parameters
from starlette_webhooks.routes.services import Access, Services, authorize, services_of
from starlette_webhooks.scope import LONGEST_QUERY, MOST_ESCAPES, MOST_PARAMETERS, SESSION, is_too_long
from starlette_webhooks.sessions import Session

__all__ = ["Call", "Operation", "Options", "operation", "operation_with_body"]

B_co = TypeVar("B_co", bound=Body | None, covariant=True)
B = TypeVar("B", bound=Body | None)
M = TypeVar("M", bound=Body)
T = TypeVar("T")

_BYTES_PER_CALL = 8192


@dataclass(frozen=True, slots=True)
class Call(Generic[B_co]):
    """An admitted request: its caller, its parameters by their declarations, and its body.

    Attributes:
        caller: None for an operation without authentication, and for a stream with a ticket.
    """

    request: Request
    services: Services
    caller: Principal | None
    parameters: Mapping[Parameter[Any], Any]
    body: B_co

    @property
    def principal(self) -> Principal:
        """The caller."""
        assert self.caller is not None
        return self.caller

    @property
    def tenant(self) -> str:
        """The tenant whose objects the call sees."""
        return self.principal.tenant

    @property
    def writes(self) -> bool:
        """Whether the caller may make changes."""
        return self.services.settings.write_scope in self.principal.scopes

    @property
    def session(self) -> Session | None:
        """The portal session that authenticated the caller. None for a key, and for a session of the host."""
        session: Session | None = self.request.scope.get(SESSION)
        return session

    def charge(self, calls: int) -> None:
        """Let an expensive call count as so many more calls. Raises `TooManyRequests`."""
        if calls > 0:
            self.services.limits.charge(self.tenant, calls)

    def __getitem__(self, parameter: Parameter[T]) -> T:
        value: T = self.parameters[parameter]
        return value


Refuse: TypeAlias = Callable[[Request, WebhooksError], ASGIApp | None]
Handler: TypeAlias = Callable[[Call[B]], Awaitable[ASGIApp]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        handler: Handles admitted calls. None for the portal, which always responds with HTML.
        scope: The scope that the caller needs, or None for an operation without authentication.
        answer: The name of a schema in the document, or a media type other than JSON. Empty for no content.
        errors: Statuses that do not follow from the rest.
        refuse: Handles an error in its own way. Returns None to leave it to the common handler.
    """

    method: str
    path: str
    id: str
    summary: str
    scope: Access | None
    answer: str
    handler: Handler[Any] | None = None
    status: int = 200
    parameters: tuple[Parameter[Any], ...] = ()
    body: type[Body] | None = None
    errors: tuple[int, ...] = ()
    refuse: Refuse | None = None

    async def serve(self, request: Request) -> ASGIApp:
        """Admit a request and handle it."""
        try:
            return await self._serve(request)
        except WebhooksError as exc:
            refusal = None if self.refuse is None else self.refuse(request, exc)
            if refusal is None:
                raise
            return refusal

    async def _serve(self, request: Request) -> ASGIApp:
        if is_too_long(request.scope["query_string"]):
            raise InvalidRequest(
                f"The query has more than {LONGEST_QUERY} bytes, {MOST_PARAMETERS} parameters or {MOST_ESCAPES} "
                "percent-encoded bytes. Send less.",
                code="query_too_long",
            )
        services = services_of(request)
        if self.scope is None or self._has_ticket(request):
            return await self._answer(request, services, None)
        caller = await authorize(request, self.scope)
        with services.limits.admit(caller.tenant):
            return await self._answer(request, services, caller)

    async def _answer(self, request: Request, services: Services, caller: Principal | None) -> ASGIApp:
        assert self.handler is not None
        parameters = read_parameters(request, self.parameters)
        if caller is not None and parameters.get(EVENT_TYPES):
            await check_in_log(
                parameters[EVENT_TYPES],
                services.event_types_of(caller.tenant),
                backend=services.backend,
                tenant=caller.tenant,
                error=InvalidRequest,
            )
        call: Call[Any] = Call(request, services, caller, parameters, None)
        if self.body is not None:
            call = replace(call, body=await _read_body(call, self.body))
        response = await self.handler(call)
        return await bounded(
            response,
            services.hub.budget,
            tenant=None if caller is None else caller.tenant,
            timeout=services.settings.stream_send_timeout,
        )

    def _has_ticket(self, request: Request) -> bool:
        return TICKET in self.parameters and TICKET.name in request.query_params


async def _read_body(call: Call[None], model: type[Body]) -> Body:
    return await read_body(
        call.request,
        model,
        timeout=call.services.settings.body_timeout,
        # It takes as long as several small ones to parse, validate, encrypt and store.
        charge=lambda size: call.charge(size // _BYTES_PER_CALL),
    )


class Options(TypedDict, total=False):
    """Options that few operations use. See `Operation`."""

    status: int
    parameters: tuple[Parameter[Any], ...]
    errors: tuple[int, ...]
    refuse: Refuse


def operation(
    method: str, path: str, summary: str, *, scope: Access | None, answer: str, **options: Unpack[Options]
) -> Callable[[Handler[None]], Operation]:
    """Declare the decorated handler as an operation. Its `operationId` is the handler's name in camelCase."""

    def declare(handler: Handler[None]) -> Operation:
        name = to_camel(handler.__name__)
        return Operation(
            method=method, path=path, id=name, summary=summary, scope=scope, answer=answer, handler=handler, **options
        )

    return declare


def operation_with_body(
    method: str, path: str, summary: str, body: type[M], *, scope: Access, answer: str, **options: Unpack[Options]
) -> Callable[[Handler[M]], Operation]:
    """Like `operation`, for handlers that read a body."""

    def declare(handler: Handler[M]) -> Operation:
        bare = operation(method, path, summary, scope=scope, answer=answer, **options)
        return replace(bare(cast(Any, handler)), body=body)

    return declare
