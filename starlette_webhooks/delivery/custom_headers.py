"""Which headers a customer may not set on deliveries."""

from __future__ import annotations

from starlette_webhooks.delivery.connection import RESERVED_HEADERS

__all__ = ["is_refused"]

# What a delivery sets itself, and what would change how the message is framed or read (RFC 9110, RFC 9112).
_OURS = {name.decode() for name in RESERVED_HEADERS} | {"content-encoding", "content-type", "date", "user-agent", "via"}
# Receivers behind the same proxies as the host believe these: a customer must not speak for another address.
_OF_PROXIES = {"forwarded", "x-real-ip"}
_PREFIXES = ("webhook-", "svix-", "x-forwarded-")


def is_refused(name: str) -> bool:
    """Return whether a custom header of this name, in any case, is refused."""
    name = name.lower()
    return name in _OURS or name in _OF_PROXIES or name.startswith(_PREFIXES)
