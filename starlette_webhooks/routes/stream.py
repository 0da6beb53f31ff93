"""The stream of events, and tickets for browsers, whose `EventSource` cannot set headers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from starlette_webhooks.authentication import sends_key
from starlette_webhooks.bodies import TicketRequest
from starlette_webhooks.event_type_names import check_in_log
from starlette_webhooks.events import format_time
from starlette_webhooks.exceptions import (
    BackendUnavailable,
    InvalidBody,
    InvalidRequest,
    QueueFull,
    RequestError,
    Unauthorized,
    WebhooksError,
)
from starlette_webhooks.feed import StreamFilter
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.routes.messages import json_response
from starlette_webhooks.routes.operations import Call, operation, operation_with_body
from starlette_webhooks.routes.parameters import (
    CHANNEL,
    EVENT_TYPES,
    LAST_EVENT_ID,
    LAST_EVENT_ID_CAMEL,
    LAST_EVENT_ID_HEADER,
    TICKET,
)
from starlette_webhooks.routes.services import SessionExpired
from starlette_webhooks.sessions import Session
from starlette_webhooks.streams import StreamResponse, TemporaryRefusal
from starlette_webhooks.tokens import sign_token, verify_token

__all__ = ["create_ticket", "get_stream_position", "stream_events"]

logger = logging.getLogger("starlette_webhooks.streams")

_PURPOSE = "stream"
_ALL = StreamFilter()
# Seconds until a client that was refused temporarily tries again.
_UNAVAILABLE = 5.0
_EXPIRED = 15.0
# How many calls it counts as, besides itself, to read the log from an event on.
_REPLAY = 4
# Ids have fewer characters. An unknown one is repeated to the client, and kept while its stream is open.
_LONGEST_ID = 200


class _ExpiredTicket(Unauthorized):
    message = "The ticket has expired. Get a new one from `POST /events/stream/ticket`."
    default_code = "ticket_expired"


def _refuse(request: Request, error: WebhooksError) -> ASGIApp | None:
    """Return a temporary refusal for browsers, whose `EventSource` gives up permanently at any status but 200."""
    if not _gives_up(request):
        return None
    if isinstance(error, (_ExpiredTicket, SessionExpired)):
        return TemporaryRefusal(f"{error.code}: {error.detail}", retry_after=_EXPIRED)
    if isinstance(error, RequestError) and error.status_code in (429, 503):
        return TemporaryRefusal(
            f"{error.code}: {error.detail}", retry_after=float(error.headers.get("Retry-After", _UNAVAILABLE))
        )
    if isinstance(error, (BackendUnavailable, QueueFull)):
        logger.warning("A stream could not be opened: %s", error, extra=log_fields("stream.refused"))
        return TemporaryRefusal("unavailable: The service is unavailable.", retry_after=_UNAVAILABLE)
    return None


def _gives_up(request: Request) -> bool:
    """Return whether the client may be an `EventSource`, which authenticates by a ticket or a cookie."""
    if "application/json" in request.headers.get("accept", ""):
        # An `EventSource` accepts nothing except a stream.
        return False
    return TICKET.name in request.query_params or ("cookie" in request.headers and not sends_key(request))


@operation_with_body(
    "POST",
    "/events/stream/ticket",
    "Create a ticket for a browser's `EventSource`",
    TicketRequest,
    scope="read",
    answer="Ticket",
    status=201,
)
async def create_ticket(call: Call[TicketRequest]) -> Response:
    """Create a ticket for a tenant and a filter. It is valid for any number of connections until it expires."""
    services, body = call.services, call.body
    types = tuple(dict.fromkeys(body.event_types))
    await check_in_log(
        types, services.event_types_of(call.tenant), backend=services.backend, tenant=call.tenant, error=InvalidBody
    )
    expires = services.clock() + services.settings.ticket_max_age
    # A ticket must not outlive its session.
    session = await services.sessions.open(call.principal, expires, within=call.session)
    claims = {**session.claims(), "types": types, "channel": body.channel}
    ticket = sign_token(services.sessions.keys, _PURPOSE, claims)
    moment = datetime.fromtimestamp(session.expires, UTC)
    return json_response({"ticket": ticket, "expiresAt": format_time(moment)}, 201)


@operation(
    "GET",
    "/events/stream",
    "Events as they happen (SSE)",
    scope="read",
    answer="text/event-stream",
    parameters=(EVENT_TYPES, CHANNEL, TICKET, LAST_EVENT_ID, LAST_EVENT_ID_CAMEL, LAST_EVENT_ID_HEADER),
    errors=(429,),
    refuse=_refuse,
)
async def stream_events(call: Call[None]) -> ASGIApp:
    """Stream events as Server-Sent Events."""
    ticket, hub = call[TICKET], call.services.hub
    session = call.session
    if ticket is None:
        session = session or call.services.sessions.of_key(call.principal)
        tenant, filter = call.tenant, _filter(call[EVENT_TYPES], call[CHANNEL])
    else:
        session, filter = await _read_ticket(call, ticket)
        tenant = session.principal.tenant
        with call.services.limits.admit(tenant):
            pass
    last = call[LAST_EVENT_ID] or call[LAST_EVENT_ID_CAMEL]
    header = call[LAST_EVENT_ID_HEADER]
    last = ((last if header is None else header) or "")[:_LONGEST_ID] or None
    hub.check_capacity(tenant)
    if last is not None and not hub.remembers(tenant, filter, last):
        call.services.limits.charge(tenant, _REPLAY)
    return StreamResponse(hub, tenant, filter, last_event_id=last, session=session)


@operation(
    "GET",
    "/events/stream/position",
    "What to pass as `Last-Event-ID` to miss nothing from now on",
    scope="read",
    answer="StreamPosition",
)
async def get_stream_position(call: Call[None]) -> Response:
    """Return the position of a stream that starts now, for clients that connect later, or more than once."""
    return json_response({"lastEventId": await call.services.backend.position(call.tenant)})


async def _read_ticket(call: Call[None], ticket: str) -> tuple[Session, StreamFilter]:
    services = call.services
    claims = verify_token(services.sessions.keys, _PURPOSE, ticket)
    if claims is None:
        raise Unauthorized("The ticket is not valid. Get a new one from `POST /events/stream/ticket`.")
    if claims["exp"] <= services.clock():
        raise _ExpiredTicket
    if call[EVENT_TYPES] or call[CHANNEL] is not None:
        raise InvalidRequest("A ticket contains its filter. Pass `eventTypes` and `channel` when you create it.")
    session = Session.of(claims)
    if not await services.sessions.is_current(session):
        raise Unauthorized("The ticket was revoked. Sign in again, then get a new one.", code="ticket_revoked")
    return session, _filter(claims["types"], claims["channel"])


def _filter(types: Sequence[str], channel: str | None) -> StreamFilter:
    # Most streams have no filter, and share this one.
    return StreamFilter(frozenset(types), channel) if types or channel else _ALL
