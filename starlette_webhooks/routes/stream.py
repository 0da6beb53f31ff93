"""The stream of events, and tickets for browsers, whose `EventSource` cannot set headers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from starlette_webhooks.bodies import TicketRequest
from starlette_webhooks.event_type_names import check_in_log
from starlette_webhooks.events import format_time
from starlette_webhooks.exceptions import InvalidBody, InvalidRequest, Unauthorized
from starlette_webhooks.feed import StreamFilter
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
from starlette_webhooks.scope import DEFERRED
from starlette_webhooks.tokens import read_token, sign_token

__all__ = ["create_ticket", "stream_events"]

_PURPOSE = "stream"
_ALL = StreamFilter()


@operation_with_body(
    "POST",
    "/events/stream/ticket",
    "A ticket for a browser's `EventSource`",
    TicketRequest,
    scope="read",
    answer="Ticket",
    status=201,
)
async def create_ticket(call: Call[TicketRequest]) -> Response:
    """A ticket: bound to tenant and filter, good for any number of connects until it expires."""
    services, body = call.services, call.body
    types = tuple(dict.fromkeys(body.event_types))
    await check_in_log(types, services.event_types, backend=services.backend, tenant=call.tenant, error=InvalidBody)
    expires = int(services.clock() + services.settings.ticket_max_age)
    claims = {"tenant": call.tenant, "types": types, "channel": body.channel, "exp": expires}
    ticket = sign_token(services.keys, _PURPOSE, claims)
    moment = datetime.fromtimestamp(expires, UTC)
    return json_response({"ticket": ticket, "expiresAt": format_time(moment)}, 201)


@operation(
    "GET",
    "/events/stream",
    "Events as they happen (SSE)",
    scope="read",
    answer="text/event-stream",
    parameters=(EVENT_TYPES, CHANNEL, TICKET, LAST_EVENT_ID, LAST_EVENT_ID_CAMEL, LAST_EVENT_ID_HEADER),
    errors=(429,),
)
async def stream_events(call: Call[None]) -> ASGIApp:
    """Server-Sent Events."""
    ticket, hub = call[TICKET], call.services.hub
    expires = None
    if ticket is None:
        tenant, filter = call.tenant, _filter(call[EVENT_TYPES], call[CHANNEL])
    else:
        tenant, filter, expires = _read_ticket(call, ticket)
    last = call[LAST_EVENT_ID] or call[LAST_EVENT_ID_CAMEL]
    header = call[LAST_EVENT_ID_HEADER]
    last = last if header is None else header
    hub.check_capacity(tenant)
    # Served once the router is left, which would hold a fifth of the memory of a stream.
    call.request.scope[DEFERRED].append(
        partial(hub.serve, tenant=tenant, filter=filter, last_event_id=last or None, principal_expires=expires)
    )
    return _nothing


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The response of a request that is answered elsewhere."""


def _read_ticket(call: Call[None], ticket: str) -> tuple[str, StreamFilter, float]:
    services = call.services
    claims = read_token(services.keys, _PURPOSE, ticket, now=services.clock())
    if claims is None:
        raise Unauthorized("The ticket is not ours, or has expired. Get another from `POST /events/stream/ticket`.")
    if call[EVENT_TYPES] or call[CHANNEL] is not None:
        raise InvalidRequest("A ticket carries its filter. Give `eventTypes` and `channel` when you get it.")
    return claims["tenant"], _filter(claims["types"], claims["channel"]), claims["exp"]


def _filter(types: Sequence[str], channel: str | None) -> StreamFilter:
    # Most streams have none, and share this one.
    return StreamFilter(frozenset(types), channel) if types or channel else _ALL
