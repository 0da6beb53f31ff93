"""Keeps tickets and tokens out of the logs of servers."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from starlette.types import Scope

__all__ = ["redact"]

_SECRET = frozenset({"ticket", "token"})


def redact(inner: Scope, outer: Scope) -> Scope:
    """Replace tickets and tokens in the query of the outer scope. Returns the inner one, which keeps them."""
    # Once the response starts, servers log the query string of their scope.
    query: bytes = outer.get("query_string", b"")
    # A name may be percent-encoded, as in `%74oken=`.
    if b"ticket" in query or b"token" in query or b"%" in query:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        if any(name in _SECRET for name, _ in pairs):
            kept = [(name, "redacted" if name in _SECRET else value) for name, value in pairs]
            outer["query_string"] = urlencode(kept).encode("latin-1")
    return inner
