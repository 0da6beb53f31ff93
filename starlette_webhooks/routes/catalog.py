"""The catalog of event types, and registering it with the backend."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from starlette_webhooks.routes.bodies import Nothing
from starlette_webhooks.routes.services import Query, authorize, json_response, read_body, services

__all__ = ["list_event_types", "sync_event_types"]


async def list_event_types(request: Request) -> Response:
    """`GET /event-types`."""
    await authorize(request, "read")
    Query(request).done()
    return json_response({"eventTypes": [event_type.document() for event_type in services(request).event_types]})


async def sync_event_types(request: Request) -> Response:
    """`POST /sync`: what was created, updated, unchanged. May be called at any time."""
    await authorize(request, "write")
    Query(request).done()
    await read_body(request, Nothing)
    own = services(request)
    result = await own.backend.sync(own.event_types)
    own.synced = True
    return json_response({"created": result.created, "updated": result.updated, "unchanged": result.unchanged})
