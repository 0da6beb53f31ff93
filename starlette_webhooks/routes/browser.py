"""The JavaScript client, for pages of any origin."""

from __future__ import annotations

from starlette.responses import Response

from starlette_webhooks.browser import read_module
from starlette_webhooks.routes.operations import Call, operation

__all__ = ["get_client_module", "get_client_types"]

_HEADERS = {
    "Cache-Control": "public, max-age=300",
    "X-Content-Type-Options": "nosniff",
    # The files are public.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@operation("GET", "/client.js", "The JavaScript client", scope=None, answer="text/javascript")
async def get_client_module(call: Call[None]) -> Response:
    """Return the module."""
    return Response(read_module("client.js"), 200, _HEADERS, "text/javascript")


@operation("GET", "/client.d.ts", "The types of the JavaScript client", scope=None, answer="text/plain")
async def get_client_types(call: Call[None]) -> Response:
    """Return the types of the module, for TypeScript."""
    return Response(read_module("client.d.ts"), 200, _HEADERS, "text/plain")
