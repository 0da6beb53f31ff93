"""The keys of `Webhooks` in the scope of a request."""

from __future__ import annotations

__all__ = ["BY_KEY", "DEFERRED", "LONGEST_QUERY", "SERVICES", "SESSION"]

BY_KEY = "starlette_webhooks.by_key"
"""Whether an API key authenticated the request."""
SERVICES = "starlette_webhooks.services"
"""The services of the routes."""
SESSION = "starlette_webhooks.session"
"""The portal session that authenticated the request. Not set for keys and sessions of the host."""
DEFERRED = "starlette_webhooks.deferred"
"""A list. The `StreamResponse` in it is served after the router has returned."""
LONGEST_QUERY = 16_384
"""The maximum of bytes of a query string. Parsing a longer one would keep the event loop busy."""
