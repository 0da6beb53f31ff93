"""The public keys of deliveries."""

from __future__ import annotations

from starlette.responses import Response

from starlette_webhooks.asymmetric import key_set
from starlette_webhooks.routes.operations import Call, operation

__all__ = ["get_keys"]

_HEADERS = {"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"}


@operation("GET", "/jwks.json", "Public keys that verify deliveries", scope=None, answer="KeySet")
async def get_keys(call: Call[None]) -> Response:
    """Return the public keys of `WEBHOOKS_SIGNING_KEY` as a JSON Web Key Set. Empty if Svix signs deliveries."""
    services = call.services
    signs = services.backend.signature_headers is None
    return Response(key_set(services.settings.signing_keys if signs else ()), 200, _HEADERS, "application/json")
