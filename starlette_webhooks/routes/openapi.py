"""The route of the OpenAPI document."""

from __future__ import annotations

from starlette.responses import Response

from starlette_webhooks.routes.messages import json_response
from starlette_webhooks.routes.operations import Call, operation

__all__ = ["get_openapi"]


@operation("GET", "/openapi.json", "This document", scope=None, answer="Document")
async def get_openapi(call: Call[None]) -> Response:
    """Return the document, with this mount as its server."""
    server = call.services.settings.public_url or call.request.scope.get("root_path", "") or "/"
    return json_response(call.services.document(server))
