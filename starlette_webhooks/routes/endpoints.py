"""The routes of endpoints: create, read, change, delete, secrets, attempts, statistics, recovery and tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.responses import Response

from starlette_webhooks.audit import actor_of
from starlette_webhooks.bodies import Body, EndpointChange, EndpointCreation, EventTest, Recovery, Rotation
from starlette_webhooks.endpoints import Endpoint
from starlette_webhooks.exceptions import NotFound
from starlette_webhooks.management import TenantEndpoints
from starlette_webhooks.operations import EndpointQuery, is_urgency_cursor
from starlette_webhooks.routes.endpoint_health import health_of, read_health
from starlette_webhooks.routes.events import ATTEMPT_FILTERS, attempt_page, attempt_query
from starlette_webhooks.routes.messages import json_response, while_connected
from starlette_webhooks.routes.operations import Call, operation, operation_with_body
from starlette_webhooks.routes.parameters import (
    ENDPOINT_ID,
    ENDPOINT_LIST_CURSOR,
    ENDPOINT_ORDER,
    LIMIT,
    SINCE,
    UNTIL,
)

__all__ = [
    "create_endpoint",
    "delete_endpoint",
    "get_endpoint",
    "get_secret",
    "get_stats",
    "list_attempts",
    "list_endpoints",
    "recover_endpoint",
    "rotate_secret",
    "test_endpoint",
    "update_endpoint",
]

_ENDPOINT = "/endpoints/{id}"
_ROWS_PER_CALL = 10
# A count may look at thousands of deliveries and events.
_COUNT = 9


def _endpoints(call: Call[Body | None]) -> TenantEndpoints:
    services = call.services
    return TenantEndpoints(
        services.backend,
        services.event_types_of(call.tenant),
        call.tenant,
        max_event_bytes=services.settings.max_event_bytes,
        actor=actor_of(call.request, call.principal),
        charge=partial(services.test_quota.take, call.tenant),
    )


def _cost(body: EndpointChange) -> int:
    """Return the calls that a change counts as, besides itself: a row is written for each type and channel."""
    return len(body.event_types) * max(len(body.channels), 1) // _ROWS_PER_CALL


@operation(
    "GET",
    "/endpoints",
    "Endpoints",
    scope="read",
    answer="EndpointPage",
    parameters=(ENDPOINT_ORDER, LIMIT, ENDPOINT_LIST_CURSOR),
    errors=(501,),
)
async def list_endpoints(call: Call[None]) -> Response:
    """Return a page of endpoints, newest first or by urgency."""
    limit, cursor = call[LIMIT], call[ENDPOINT_LIST_CURSOR]
    # A cursor continues the list that it came from.
    by_urgency = call[ENDPOINT_ORDER] == "urgency" if cursor is None else is_urgency_cursor(cursor)
    if by_urgency:
        return await _list_by_urgency(call, limit, cursor)
    page = await _endpoints(call).list(limit=limit, cursor=cursor)
    # As many as on the page, which ends early if its endpoints are large.
    query = EndpointQuery(tenant=call.tenant, limit=len(page.items), cursor=cursor)
    endpoints = await _documents(call, page.items, query)
    return json_response({"endpoints": endpoints, "nextCursor": page.next_cursor, "done": page.done})


async def _list_by_urgency(call: Call[None], limit: int, cursor: str | None) -> Response:
    services = call.services
    query = EndpointQuery(tenant=call.tenant, order="urgency", limit=limit, cursor=cursor)
    page = await services.backend.find_endpoints(query)
    endpoints = [
        {
            **status.endpoint.document(whole_url=call.writes),
            "health": health_of(status, disable_after=services.settings.disable_after),
        }
        for status in page.items
    ]
    return json_response({"endpoints": endpoints, "nextCursor": page.next_cursor, "done": page.done})


@operation_with_body(
    "POST",
    "/endpoints",
    "Create an endpoint",
    EndpointCreation,
    scope="write",
    answer="Endpoint",
    status=201,
    errors=(409,),
)
async def create_endpoint(call: Call[EndpointCreation]) -> Response:
    """Create an endpoint."""
    call.charge(_cost(call.body))
    call.services.requested.create(call.tenant)
    endpoint = await _endpoints(call).create_from(call.body)
    return json_response(endpoint.document(whole_url=call.writes), 201)


@operation("GET", _ENDPOINT, "One endpoint", scope="read", answer="Endpoint", parameters=(ENDPOINT_ID,))
async def get_endpoint(call: Call[None]) -> Response:
    """Return one endpoint."""
    endpoint = await _endpoints(call).get(call[ENDPOINT_ID])
    query = EndpointQuery(tenant=call.tenant, endpoint_id=endpoint.id, limit=1)
    (document,) = await _documents(call, [endpoint], query)
    return json_response(document)


async def _documents(call: Call[None], endpoints: Sequence[Endpoint], query: EndpointQuery) -> list[dict[str, Any]]:
    """Return endpoints with their health, which `query` finds."""
    if not endpoints:
        return []
    services = call.services
    health = await read_health(services.backend, query, disable_after=services.settings.disable_after)
    documents = []
    for endpoint in endpoints:
        known = {"health": health[endpoint.id]} if endpoint.id in health else {}
        documents.append({**endpoint.document(whole_url=call.writes), **known})
    return documents


@operation_with_body(
    "PATCH",
    _ENDPOINT,
    "Change the given fields",
    EndpointChange,
    scope="write",
    answer="Endpoint",
    parameters=(ENDPOINT_ID,),
)
async def update_endpoint(call: Call[EndpointChange]) -> Response:
    """Change the given fields."""
    call.charge(_cost(call.body))
    endpoint = await _endpoints(call).update_from(call[ENDPOINT_ID], call.body)
    return json_response(endpoint.document(whole_url=call.writes))


@operation(
    "DELETE",
    _ENDPOINT,
    "Delete an endpoint and its pending deliveries",
    scope="write",
    answer="",
    status=204,
    parameters=(ENDPOINT_ID,),
)
async def delete_endpoint(call: Call[None]) -> Response:
    """Delete an endpoint with its attempts and pending deliveries."""
    await _endpoints(call).delete(call[ENDPOINT_ID])
    return Response(status_code=204)


@operation(
    "GET",
    f"{_ENDPOINT}/secret",
    "The secret that signs deliveries",
    # The secret allows forging deliveries.
    scope="write",
    answer="Secret",
    parameters=(ENDPOINT_ID,),
)
async def get_secret(call: Call[None]) -> Response:
    """Return the secret that signs deliveries."""
    return json_response({"key": await _endpoints(call).secret(call[ENDPOINT_ID])})


@operation_with_body(
    "POST",
    f"{_ENDPOINT}/secret/rotate",
    "Replace the secret. The old one stays valid for the chosen time",
    Rotation,
    scope="write",
    answer="Secret",
    parameters=(ENDPOINT_ID,),
    errors=(409,),
)
async def rotate_secret(call: Call[Rotation]) -> Response:
    """Replace the secret of an endpoint. The old one stays valid for 24 hours, or the chosen time."""
    return json_response({"key": await _endpoints(call).rotate_from(call[ENDPOINT_ID], call.body)})


@operation(
    "GET",
    f"{_ENDPOINT}/attempts",
    "Attempts to deliver to an endpoint",
    scope="read",
    answer="AttemptPage",
    parameters=(ENDPOINT_ID, *ATTEMPT_FILTERS),
)
async def list_attempts(call: Call[None]) -> Response:
    """Return the attempts to deliver to an endpoint, newest first."""
    identifier = call[ENDPOINT_ID]
    return attempt_page(call, await _endpoints(call).attempts(identifier, attempt_query(call, endpoint_id=identifier)))


@operation(
    "GET",
    f"{_ENDPOINT}/stats",
    "Statistics of an endpoint",
    scope="read",
    answer="Stats",
    parameters=(ENDPOINT_ID, SINCE, UNTIL),
)
async def get_stats(call: Call[None]) -> Response:
    """Return statistics of the attempts to an endpoint, for the last 24 hours or the requested window."""
    now = call.services.clock()
    stats = await _endpoints(call).stats(call[ENDPOINT_ID], call[SINCE], call[UNTIL], now=now)
    return json_response(stats.document())


@operation_with_body(
    "POST",
    f"{_ENDPOINT}/recover",
    "Recover failed deliveries",
    Recovery,
    scope="write",
    answer="Recovered",
    status=202,
    parameters=(ENDPOINT_ID,),
    errors=(409, 501),
)
async def recover_endpoint(call: Call[Recovery]) -> Response:
    """Deliver again what failed since a given time, or count it. Ends early if the client goes away."""
    if call.body.count_only:
        return await _count_recoverable(call)
    recover = partial(_endpoints(call).recover_from, call[ENDPOINT_ID], call.body)
    return json_response({"recovered": await while_connected(call.request, recover)}, 202)


async def _count_recoverable(call: Call[Recovery]) -> Response:
    services, body = call.services, call.body
    body.check_order()
    call.charge(_COUNT)
    count = partial(
        services.backend.count_recoverable,
        call.tenant,
        call[ENDPOINT_ID],
        body.since,
        body.until,
        missing=body.missing,
    )
    async with services.scans.of(call.tenant):
        found = await while_connected(call.request, count)
    if found is None:
        raise NotFound("There is no such endpoint.")
    document = {"recovered": 0, "failed": found.failed, "missing": found.missing, "exact": found.exact}
    return json_response(document, 202)


@operation_with_body(
    "POST",
    f"{_ENDPOINT}/test",
    "Send a test event to this endpoint only",
    EventTest,
    scope="write",
    answer="Event",
    status=202,
    parameters=(ENDPOINT_ID,),
    errors=(409,),
)
async def test_endpoint(call: Call[EventTest]) -> Response:
    """Send a test event to this endpoint only, ignoring its filters."""
    call.services.requested.take(call.tenant, call[ENDPOINT_ID])
    event = await _endpoints(call).test_from(call[ENDPOINT_ID], call.body)
    return json_response(event.encode(), 202)
