"""Portal sessions, for hosts whose users only have API keys: a signed token in a link, then in a cookie."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from starlette.requests import HTTPConnection

from starlette_webhooks.authentication import Principal
from starlette_webhooks.tokens import read_token, sign_token

__all__ = ["SESSION_COOKIE", "SESSION_SECONDS", "mint_session", "open_session", "read_session", "session_cookie"]

SESSION_COOKIE = "starlette_webhooks_session"
SESSION_SECONDS = 3600
"""How long a session lasts by default."""

_LONGEST = 7 * 86_400
_PURPOSE = "portal session"


def mint_session(keys: Sequence[bytes], principal: Principal, *, now: float, expires_in: int = SESSION_SECONDS) -> str:
    """Return a token that represents the principal for `expires_in` seconds. The link has it as `?token=`.

    Raises:
        ValueError: `expires_in` is more than seven days, or not positive.
    """
    if not 0 < expires_in <= _LONGEST:
        raise ValueError(f"`expires_in` must lie between 1 and {_LONGEST} seconds.")
    claims = {"tenant": principal.tenant, "scopes": sorted(principal.scopes), "exp": int(now) + expires_in}
    return sign_token(keys, _PURPOSE, claims)


def open_session(keys: Sequence[bytes], token: str, *, now: float) -> tuple[Principal, int] | None:
    """Return the principal of a token and the seconds left, or None if it is invalid or has expired."""
    claims = read_token(keys, _PURPOSE, token, now=now)
    if claims is None:
        return None
    return Principal(claims["tenant"], claims["scopes"]), max(1, int(claims["exp"] - now))


def read_session(keys: Sequence[bytes], connection: HTTPConnection, *, now: float) -> tuple[Principal, int] | None:
    """Return the principal of a request's session cookie and the seconds left, or None if there is no session."""
    token = connection.cookies.get(SESSION_COOKIE)
    return open_session(keys, token, now=now) if token else None


def session_cookie(token: str, *, path: str, max_age: int, secure: bool, framed: bool) -> str:
    """Return the `Set-Cookie` header.

    Args:
        path: The path that the cookie is sent to, which contains the portal and the routes.
        max_age: In seconds.
        secure: Whether the page is served over HTTPS.
        framed: Whether pages of other sites may show ours in a frame.
    """
    # With `Strict`, the cookie would be missing after the redirect from a link on another site. In a frame of another
    # site, only `None` is sent. The routes refuse cross-site changes in any case.
    site = "None; Partitioned" if framed and secure else "Lax"
    cookie = f"{SESSION_COOKIE}={token}; Path={quote(path) or '/'}; Max-Age={max_age}; HttpOnly; SameSite={site}"
    return f"{cookie}; Secure" if secure else cookie
