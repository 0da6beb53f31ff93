"""Names under which `Webhooks` keeps its own in the scope of a request."""

from __future__ import annotations

__all__ = ["BY_KEY", "DEFERRED", "SERVICES", "SESSION"]

BY_KEY = "starlette_webhooks.by_key"
"""Whether an API key authenticated the request."""
SERVICES = "starlette_webhooks.services"
"""What the routes work with."""
SESSION = "starlette_webhooks.session"
"""The portal session that authenticated the request; not set for keys and for sessions of the host."""
DEFERRED = "starlette_webhooks.deferred"
"""A list. The `StreamResponse` in it is served once the router is left."""
