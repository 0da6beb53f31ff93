"""The catalog of event types, and its registration with the backend."""

from __future__ import annotations

from starlette.responses import Response

from starlette_webhooks.bodies import Nothing
from starlette_webhooks.routes.messages import json_response
from starlette_webhooks.routes.operations import Call, operation, operation_with_body

__all__ = ["list_event_types", "sync"]


@operation("GET", "/event-types", "The catalog of event types", scope="read", answer="EventTypes")
async def list_event_types(call: Call[None]) -> Response:
    """The catalog of event types."""
    return json_response(call.services.catalog.document(call.services.event_types_of(call.tenant)))


@operation_with_body("POST", "/sync", "Register the event types", Nothing, scope="write", answer="Synced")
async def sync(call: Call[Nothing]) -> Response:
    """Register the event types. Returns which were created, updated and unchanged. May be called at any time."""
    result = await call.services.catalog.register()
    return json_response({"created": result.created, "updated": result.updated, "unchanged": result.unchanged})
