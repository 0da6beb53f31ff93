"""What an endpoint loses when it moves to another server."""

from __future__ import annotations

from dataclasses import replace

from starlette_webhooks.delivery.addresses import InvalidURL, parse_url
from starlette_webhooks.endpoints import Endpoint, EndpointChanges, Unset

__all__ = ["bound_to_origin", "moves"]


def moves(url: str, changes: EndpointChanges) -> bool:
    """Whether a change leads an endpoint at this URL to another origin: another scheme, host or port."""
    return isinstance(changes.url, str) and _origin(changes.url) != _origin(url)


def bound_to_origin(endpoint: Endpoint, changes: EndpointChanges) -> EndpointChanges:
    """The changes, with the headers cleared if the endpoint moves and no new ones are given.

    Their values are often credentials. Whoever may change the URL cannot read them, and must not have them sent to a
    server of their own.
    """
    if not isinstance(changes.headers, Unset) or not moves(endpoint.url, changes):
        return changes
    return replace(changes, headers={})


def _origin(url: str) -> tuple[str, str, int] | str:
    try:
        return parse_url(url).origin
    except InvalidURL:
        # Stored before a rule was added. It is then its own origin.
        return url
