"""Names under which `Webhooks` keeps its own in the scope of a request."""

from __future__ import annotations

__all__ = ["DEFERRED", "SERVICES"]

SERVICES = "starlette_webhooks.services"
"""What the routes work with."""
DEFERRED = "starlette_webhooks.deferred"
"""A list. The ASGI app in it serves the request once the router is left."""
