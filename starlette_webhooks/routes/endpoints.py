"""Endpoints: create, read, change, delete; secrets, attempts, figures, recovery, tests."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.exceptions import InvalidBody, InvalidEvent, InvalidRequest, NotFound
from starlette_webhooks.payloads import new_event
from starlette_webhooks.routes.bodies import EndpointChange, EndpointCreation, Recovery, Rotation
from starlette_webhooks.routes.events import attempt_page, attempt_query, invalid_event, read_test_event
from starlette_webhooks.routes.services import (
    Access,
    Query,
    authorize,
    check_event_types,
    json_response,
    parse_moment,
    read_body,
    services,
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

_ENDPOINT_ID = re.compile(r"ep_[0-9A-Za-z]{22,40}", re.ASCII)
_LONGEST_STATS = timedelta(days=31)


def _no_endpoint() -> NotFound:
    return NotFound("There is no such endpoint.")


def _is_endpoint_id(text: str) -> bool:
    return _ENDPOINT_ID.fullmatch(text) is not None


async def _enter(request: Request, access: Access) -> tuple[str, str]:
    """The tenant and the endpoint's id of a request that may do this."""
    principal = await authorize(request, access)
    identifier: str = request.path_params["id"]
    if not _is_endpoint_id(identifier):
        raise _no_endpoint()
    return principal.tenant, identifier


async def _existing(request: Request, tenant: str, identifier: str) -> Endpoint:
    endpoint = await services(request).backend.get_endpoint(tenant, identifier)
    if endpoint is None:
        raise _no_endpoint()
    return endpoint


def _check(request: Request, changes: EndpointChanges) -> EndpointChanges:
    if isinstance(changes.event_types, tuple):
        check_event_types(services(request).event_types, changes.event_types, InvalidBody, most=100)
    return changes


async def list_endpoints(request: Request) -> Response:
    """`GET /endpoints`: newest first, a page at a time."""
    principal = await authorize(request, "read")
    query = Query(request)
    limit, cursor = query.whole("limit", 50, 1, 250), query.cursor(_is_endpoint_id)
    query.done()
    page = await services(request).backend.list_endpoints(principal.tenant, limit=limit, cursor=cursor)
    endpoints = [endpoint.document() for endpoint in page.items]
    return json_response({"endpoints": endpoints, "nextCursor": page.next_cursor, "done": page.done})


async def create_endpoint(request: Request) -> Response:
    """`POST /endpoints`."""
    principal = await authorize(request, "write")
    Query(request).done()
    changes = _check(request, (await read_body(request, EndpointCreation)).changes())
    endpoint = await services(request).backend.create_endpoint(principal.tenant, changes)
    return json_response(endpoint.document(), 201)


async def get_endpoint(request: Request) -> Response:
    """`GET /endpoints/{id}`."""
    tenant, identifier = await _enter(request, "read")
    Query(request).done()
    return json_response((await _existing(request, tenant, identifier)).document())


async def update_endpoint(request: Request) -> Response:
    """`PATCH /endpoints/{id}`: changes the fields that are given."""
    tenant, identifier = await _enter(request, "write")
    Query(request).done()
    changes = _check(request, (await read_body(request, EndpointChange)).changes())
    endpoint = await services(request).backend.update_endpoint(tenant, identifier, changes)
    if endpoint is None:
        raise _no_endpoint()
    return json_response(endpoint.document())


async def delete_endpoint(request: Request) -> Response:
    """`DELETE /endpoints/{id}`: with its attempts, and what waits for it."""
    tenant, identifier = await _enter(request, "write")
    Query(request).done()
    if not await services(request).backend.delete_endpoint(tenant, identifier):
        raise _no_endpoint()
    return Response(status_code=204)


async def get_secret(request: Request) -> Response:
    """`GET /endpoints/{id}/secret`. Takes the scope to write, since a secret allows to forge deliveries."""
    tenant, identifier = await _enter(request, "write")
    Query(request).done()
    key = await services(request).backend.get_secret(tenant, identifier)
    if key is None:
        raise _no_endpoint()
    return json_response({"key": key})


async def rotate_secret(request: Request) -> Response:
    """`POST /endpoints/{id}/secret/rotate`: the secret before signs along for 24 hours."""
    tenant, identifier = await _enter(request, "write")
    Query(request).done()
    body = await read_body(request, Rotation)
    key = await services(request).backend.rotate_secret(tenant, identifier, body.key)
    if key is None:
        raise _no_endpoint()
    return json_response({"key": key})


async def list_attempts(request: Request) -> Response:
    """`GET /endpoints/{id}/attempts`: newest first, a page at a time."""
    tenant, identifier = await _enter(request, "read")
    query = attempt_query(Query(request), endpoint_id=identifier)
    await _existing(request, tenant, identifier)
    return attempt_page(await services(request).backend.list_attempts(tenant, query))


async def get_stats(request: Request) -> Response:
    """`GET /endpoints/{id}/stats`: the last 24 hours, or the window asked for, 31 days at most."""
    tenant, identifier = await _enter(request, "read")
    query = Query(request)
    now = datetime.fromtimestamp(services(request).clock(), UTC)
    until = query.moment("until") or now
    since = query.moment("since") or until - timedelta(days=1)
    query.done()
    if not timedelta() < until - since <= _LONGEST_STATS:
        raise InvalidRequest("`since` must lie before `until`, by 31 days at most.", code="invalid_time")
    stats = await services(request).backend.endpoint_stats(tenant, identifier, since, until)
    if stats is None:
        raise _no_endpoint()
    return json_response(stats.document())


async def recover_endpoint(request: Request) -> Response:
    """`POST /endpoints/{id}/recover`: deliver again what failed since then."""
    tenant, identifier = await _enter(request, "write")
    Query(request).done()
    body = await read_body(request, Recovery)
    since = parse_moment("since", body.since)
    until = None if body.until is None else parse_moment("until", body.until)
    if until is not None and until <= since:
        raise InvalidBody("`since` must lie before `until`.", code="invalid_time")
    recovered = await services(request).backend.recover(tenant, identifier, since, until, missing=body.missing)
    if recovered is None:
        raise _no_endpoint()
    return json_response({"recovered": recovered}, 202)


async def test_endpoint(request: Request) -> Response:
    """`POST /endpoints/{id}/test`: an event for this endpoint alone, filters aside."""
    tenant, identifier = await _enter(request, "write")
    Query(request).done()
    body = await read_test_event(request)
    own = services(request)
    try:
        event = new_event(
            body.event_type,
            body.data,
            tenant=tenant,
            max_bytes=own.settings.max_event_bytes,
            mint_id=own.backend.mints_ids,
        )
    except InvalidEvent as exc:
        raise invalid_event(request, exc) from exc
    stored = await own.backend.test_endpoint(tenant, identifier, event)
    if stored is None:
        raise _no_endpoint()
    return json_response(stored.encode(), 202)
