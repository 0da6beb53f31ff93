"""Sessions of our own portal, for hosts whose users have API keys only: a signed token in a link, then in a cookie."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from starlette.requests import HTTPConnection

from starlette_webhooks.authentication import Principal
from starlette_webhooks.tokens import read_token, sign_token

__all__ = ["SESSION_COOKIE", "SESSION_SECONDS", "mint_session", "open_session", "read_session", "session_cookie"]

SESSION_COOKIE = "starlette_webhooks_session"
SESSION_SECONDS = 3600
"""How long a session lasts where nothing else is asked for."""

_LONGEST = 7 * 86_400
_PURPOSE = "portal session"


def mint_session(keys: Sequence[bytes], principal: Principal, *, now: float, expires_in: int = SESSION_SECONDS) -> str:
    """A token that stands for this principal for `expires_in` seconds. It goes into the link as `?token=`.

    Raises:
        ValueError: `expires_in` is over seven days, or not positive.
    """
    if not 0 < expires_in <= _LONGEST:
        raise ValueError(f"`expires_in` must lie between 1 and {_LONGEST} seconds.")
    claims = {"tenant": principal.tenant, "scopes": sorted(principal.scopes), "exp": int(now) + expires_in}
    return sign_token(keys, _PURPOSE, claims)


def open_session(keys: Sequence[bytes], token: str, *, now: float) -> tuple[Principal, int] | None:
    """Whom a token stands for, and the seconds that are left; None where it is not ours or has expired."""
    claims = read_token(keys, _PURPOSE, token, now=now)
    if claims is None:
        return None
    return Principal(claims["tenant"], claims["scopes"]), max(1, int(claims["exp"] - now))


def read_session(keys: Sequence[bytes], connection: HTTPConnection, *, now: float) -> tuple[Principal, int] | None:
    """Whom the session cookie of a request stands for, and the seconds that are left; None for no session."""
    token = connection.cookies.get(SESSION_COOKIE)
    return open_session(keys, token, now=now) if token else None


def session_cookie(token: str, *, path: str, max_age: int, secure: bool, framed: bool) -> str:
    """The `Set-Cookie` header.

    Args:
        path: What the cookie is sent to: the page and the routes.
        max_age: In seconds.
        secure: Whether the page is served over HTTPS.
        framed: Whether pages of other sites may hold ours in a frame.
    """
    # `Strict` would keep the cookie from the very redirect that follows a link on another site. In a frame of another
    # site only `None` is sent; the routes refuse changes that other sites cause in any case.
    site = "None; Partitioned" if framed and secure else "Lax"
    cookie = f"{SESSION_COOKIE}={token}; Path={quote(path) or '/'}; Max-Age={max_age}; HttpOnly; SameSite={site}"
    return f"{cookie}; Secure" if secure else cookie
