"""Removes secrets from the query string of a scope, which servers log."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from starlette.types import Scope

from starlette_webhooks.scope import is_too_long

__all__ = ["redact", "redact_query"]

_SECRET = frozenset({"ticket", "token"})


def redact(inner: Scope, outer: Scope) -> Scope:
    """Replace secrets in the query string of the outer scope. Returns the inner one, which keeps them."""
    redact_query(outer)
    return inner


def redact_query(scope: Scope) -> None:
    """Replace secrets in the query string. Servers log it once the response starts."""
    query: bytes = scope.get("query_string", b"")
    if is_too_long(query):
        scope["query_string"] = b"too_long"
    # A name may be percent-encoded, as in `%74oken=`.
    elif b"ticket" in query or b"token" in query or b"%" in query:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        if any(name in _SECRET for name, _ in pairs):
            kept = [(name, "redacted" if name in _SECRET else value) for name, value in pairs]
            scope["query_string"] = urlencode(kept).encode("latin-1")
