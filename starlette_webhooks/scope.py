"""The keys of `Webhooks` in the scope of a request."""

from __future__ import annotations

__all__ = [
    "BY_KEY",
    "DEFERRED",
    "LONGEST_QUERY",
    "MOST_ESCAPES",
    "MOST_PARAMETERS",
    "SERVICES",
    "SESSION",
    "is_too_long",
]

BY_KEY = "starlette_webhooks.by_key"
"""Whether an API key authenticated the request."""
SERVICES = "starlette_webhooks.services"
"""The services of the routes."""
SESSION = "starlette_webhooks.session"
"""The portal session that authenticated the request. Not set for keys and sessions of the host."""
DEFERRED = "starlette_webhooks.deferred"
"""A list. The `StreamResponse` in it is served after the router has returned."""
LONGEST_QUERY = 16_384
"""The maximum of bytes of a query string."""
MOST_PARAMETERS = 100
"""The maximum of parameters in a query string. Routes know about ten, of which one may be repeated up to 20 times."""
MOST_ESCAPES = 1000
"""The maximum of percent-encoded bytes in a query string. The longest text to search for has 800."""


def is_too_long(query: bytes) -> bool:
    """Return whether parsing a query string would keep the event loop busy."""
    return len(query) > LONGEST_QUERY or query.count(b"&") >= MOST_PARAMETERS or query.count(b"%") > MOST_ESCAPES
