"""The stream of events, and tickets for browsers, whose `EventSource` cannot set headers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from starlette_webhooks.events import format_time
from starlette_webhooks.exceptions import InvalidBody, InvalidRequest, Unauthorized
from starlette_webhooks.feed import StreamFilter
from starlette_webhooks.routes.bodies import TicketRequest
from starlette_webhooks.routes.services import (
    Query,
    authorize,
    check_event_types,
    json_response,
    read_body,
    services,
)
from starlette_webhooks.scope import DEFERRED
from starlette_webhooks.tokens import read_token, sign_token

__all__ = ["create_ticket", "stream_events"]

_PURPOSE = "stream"
_ALL = StreamFilter()


async def create_ticket(request: Request) -> Response:
    """`POST /events/stream/ticket`: bound to tenant and filter, good for any number of connects until it expires."""
    principal = await authorize(request, "read")
    Query(request).done()
    body = await read_body(request, TicketRequest)
    own = services(request)
    types = check_event_types(own.event_types, tuple(dict.fromkeys(body.event_types)), InvalidBody)
    expires = int(own.clock() + own.settings.ticket_max_age)
    claims = {"tenant": principal.tenant, "types": types, "channel": body.channel, "exp": expires}
    ticket = sign_token(own.keys, _PURPOSE, claims)
    moment = datetime.fromtimestamp(expires, UTC)
    return json_response({"ticket": ticket, "expiresAt": format_time(moment)}, 201)


async def stream_events(request: Request) -> ASGIApp:
    """`GET /events/stream`: Server-Sent Events."""
    own = services(request)
    query = Query(request)
    ticket = query.text("ticket")
    expires = None
    if ticket is None:
        tenant = (await authorize(request, "read")).tenant
        filter = _filter(query.event_types(), query.channel())
    else:
        tenant, filter, expires = _read_ticket(request, ticket)
    # Names that browsers' polyfills use stand beside ours.
    last = query.text("last_event_id") or query.text("lastEventId")
    query.done()
    last = request.headers.get("last-event-id", last)
    own.hub.check_capacity(tenant)
    # Served once the router is left, which would hold a fifth of the memory of a stream.
    request.scope[DEFERRED].append(
        partial(own.hub.serve, tenant=tenant, filter=filter, last_event_id=last or None, principal_expires=expires)
    )
    return _nothing


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The response of a request that is answered elsewhere."""


def _read_ticket(request: Request, ticket: str) -> tuple[str, StreamFilter, float]:
    own = services(request)
    claims = read_token(own.keys, _PURPOSE, ticket, now=own.clock())
    if claims is None:
        raise Unauthorized("The ticket is not ours, or has expired. Get another from `POST /events/stream/ticket`.")
    if {"event_type", "channel"} & set(request.query_params):
        raise InvalidRequest("A ticket carries its filter. Give `eventTypes` and `channel` when you get it.")
    return claims["tenant"], _filter(claims["types"], claims["channel"]), claims["exp"]


def _filter(types: Sequence[str], channel: str | None) -> StreamFilter:
    # Most streams have none, and share this one.
    return StreamFilter(frozenset(types), channel) if types or channel else _ALL
