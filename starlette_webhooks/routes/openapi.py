"""The OpenAPI document of the routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from starlette_webhooks._version import __version__
from starlette_webhooks.openapi import build_document
from starlette_webhooks.routes.components import components
from starlette_webhooks.routes.services import Services, json_response

__all__ = ["openapi_view"]


def openapi_view(services: Services) -> Callable[[Request], Awaitable[Response]]:
    """The view of `GET /openapi.json`, which is open to all."""
    documents: list[dict[str, Any]] = []

    async def get_openapi(request: Request) -> Response:
        if not documents:
            scopes = {"read": services.scope_name("read"), "write": services.scope_name("write")}
            title = services.settings.portal_brand
            version = __version__
            parts = components(event_type.name for event_type in services.event_types)
            documents.append(
                build_document(services.event_types, components=parts, scopes=scopes, version=version, title=title)
            )
        # Relative to the document itself, so that it holds behind any proxy, host and scheme.
        servers = [{"url": request.scope.get("root_path", "") or "/"}]
        return json_response({**documents[0], "servers": servers})

    return get_openapi
