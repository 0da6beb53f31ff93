"""The headers that a customer must not set on deliveries."""

from __future__ import annotations

from starlette_webhooks.delivery.connection import RESERVED_HEADERS

__all__ = ["is_refused"]

# Headers that deliveries set, or that change how the message is framed or read (RFC 9110, RFC 9112).
_OURS = {name.decode() for name in RESERVED_HEADERS} | {"content-encoding", "content-type", "date", "user-agent", "via"}
# Receivers behind the same proxies as the host trust these, so a customer must not be able to fake an address.
_OF_PROXIES = {"forwarded", "x-real-ip"}
_PREFIXES = ("webhook-", "svix-", "x-forwarded-")


def is_refused(name: str) -> bool:
    """Return whether a custom header of this name, in any case, is refused."""
    name = name.lower()
    return name in _OURS or name in _OF_PROXIES or name.startswith(_PREFIXES)
