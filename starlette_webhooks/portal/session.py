"""The cookie of our own portal, for hosts whose users have API keys only."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import HTTPConnection

__all__ = ["SESSION_COOKIE", "session_cookie", "session_token"]

SESSION_COOKIE = "starlette_webhooks_session"
_NAME = f"{SESSION_COOKIE}="


def session_token(connection: HTTPConnection) -> str | None:
    """Return the token of the session's cookie. Other cookies are not parsed, because anyone can send thousands."""
    cookies = "; ".join(connection.headers.getlist("cookie"))
    start = len(cookies)
    # The last one counts, as in Starlette.
    while (start := cookies.rfind(_NAME, 0, start)) >= 0:
        if start == 0 or cookies[start - 1] in "; ":
            return cookies[start + len(_NAME) :].partition(";")[0].strip() or None
    return None


def session_cookie(token: str, *, path: str, max_age: int, secure: bool, framed: bool) -> str:
    """The `Set-Cookie` header.

    Args:
        token: Of the session; empty to remove the cookie, with a `max_age` of 0.
        path: What the cookie is sent to: the page and the routes.
        max_age: In seconds.
        secure: Whether the page is served over HTTPS.
        framed: Whether pages of other sites may show ours in a frame.
    """
    # With `Strict`, the page would not receive the cookie after a link on another site. In a frame of another site,
    # only `None` is sent. The routes refuse cross-site changes in any case.
    site = "None; Partitioned" if framed and secure else "Lax"
    cookie = f"{SESSION_COOKIE}={token}; Path={quote(path) or '/'}; Max-Age={max_age}; HttpOnly; SameSite={site}"
    return f"{cookie}; Secure" if secure else cookie
