"""Custom headers stay with their origin when the URL of an endpoint changes."""

from __future__ import annotations

from dataclasses import replace

from starlette_webhooks.delivery.addresses import InvalidURL, parse_url
from starlette_webhooks.endpoints import Endpoint, EndpointChanges, Unset

__all__ = ["bound_to_origin", "moves", "shown_origin"]


def moves(url: str, changes: EndpointChanges) -> bool:
    """Return whether a change moves an endpoint from this URL to another scheme, host or port."""
    return isinstance(changes.url, str) and _origin(changes.url) != _origin(url)


def bound_to_origin(endpoint: Endpoint, changes: EndpointChanges) -> EndpointChanges:
    """Return the changes, with empty headers if the endpoint moves to another origin without new ones.

    Header values are often credentials. A user who can change the URL cannot read them, and must not be able to send
    them to another server.
    """
    if not isinstance(changes.headers, Unset) or not moves(endpoint.url, changes):
        return changes
    return replace(changes, headers={})


def _origin(url: str) -> tuple[str, str, int] | str:
    try:
        return parse_url(url).origin
    except InvalidURL:
        # A URL from before a rule was added may not be valid. It counts as its own origin.
        return url


def shown_origin(url: str) -> str:
    """The origin of a URL as text, for logs: its path and query may be secret."""
    origin = _origin(url)
    return "" if isinstance(origin, str) else f"{origin[0]}://{origin[1]}:{origin[2]}"
