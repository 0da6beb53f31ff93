"""Names under which `Webhooks` keeps its own in the scope of a request."""

from __future__ import annotations

__all__ = ["DEFERRED", "SERVICES"]

SERVICES = "starlette_webhooks.services"
"""What the routes work with."""
DEFERRED = "starlette_webhooks.deferred"
"""A list. The `StreamResponse` in it is served once the router is left."""
