"""Authentication of callers: principals, scopes, API keys, and the same-origin rule for cookie sessions."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from starlette.requests import HTTPConnection

from starlette_webhooks.concurrency import run_in_thread
from starlette_webhooks.exceptions import Forbidden
from starlette_webhooks.scope import BY_KEY

__all__ = [
    "APIKeys",
    "Authenticate",
    "Principal",
    "call_authenticate",
    "call_function",
    "check_same_origin",
    "default_authenticate",
    "is_same_origin",
    "sends_key",
]

T = TypeVar("T")

_THREADS = 40
_limiter: RunVar[CapacityLimiter] = RunVar("starlette_webhooks.authentication.threads")
_PORTS = {"http": 80, "https": 443}
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SENT_BY_BROWSERS = frozenset({"basic", "digest", "negotiate", "ntlm"})


@dataclass(frozen=True, slots=True, init=False)
class Principal:
    """A caller of the routes.

    Args:
        tenant: The tenant whose events and endpoints the caller can access.
        scopes: What the caller may do: `webhooks:read`, `webhooks:write`, or the names in the settings.
        subject: The id of the key or user behind the call, never the key itself. For `session_valid` and the audit log.
            Empty if there is none.
    """

    tenant: str
    scopes: frozenset[str]
    subject: str

    def __init__(self, tenant: str | int | UUID, scopes: Collection[str] = (), subject: str | int | UUID = "") -> None:
        if isinstance(tenant, (int, UUID)) and not isinstance(tenant, bool):
            tenant = str(tenant)
        if not isinstance(tenant, str) or not tenant:
            raise TypeError(f"`tenant` must be a string, an int or a UUID, not {tenant!r}.")
        if isinstance(scopes, str):
            raise TypeError(f"`scopes` must be a collection of strings. Use `[{scopes!r}]`.")
        object.__setattr__(self, "tenant", tenant)
        object.__setattr__(self, "scopes", frozenset(scopes))
        object.__setattr__(self, "subject", str(subject))


Authenticate: TypeAlias = Callable[[HTTPConnection], Principal | None | Awaitable[Principal | None]]
"""Returns the caller: a `Principal`, or None for an anonymous call. A sync function runs in a thread."""


async def default_authenticate(connection: HTTPConnection) -> Principal | None:
    """Return the user of Starlette's `AuthenticationMiddleware`, with `user.identity` as tenant and `auth.scopes`."""
    user = connection.scope.get("user")
    # Users of other frameworks' middleware can be of any type.
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    return Principal(str(user.identity), getattr(connection.scope.get("auth"), "scopes", ()))


class APIKeys:
    """Authenticates `Authorization: Bearer <key>`, and requests without a key with `fallback`.

    Args:
        lookup: Returns the principal of a key, or None if the key is not valid. A sync function runs in a thread.
        fallback: Authenticates requests without a Bearer key, for example by the host's session.
    """

    def __init__(
        self,
        lookup: Callable[[str], Principal | None | Awaitable[Principal | None]],
        *,
        fallback: Authenticate | None = None,
    ) -> None:
        self._lookup = lookup
        self._fallback = fallback

    async def __call__(self, connection: HTTPConnection) -> Principal | None:
        """Return the principal of a request, or None."""
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            principal = await _call(self._lookup, key.strip())
            connection.scope[BY_KEY] = principal is not None
            return principal
        return None if self._fallback is None else await call_authenticate(self._fallback, connection)


async def call_authenticate(authenticate: Authenticate, connection: HTTPConnection) -> Principal | None:
    """Call an `authenticate` function. A sync one runs in a thread, because it may read a database."""
    return await _call(authenticate, connection)


async def _call(function: Callable[[T], Any], argument: T) -> Principal | None:
    principal = await call_function(function, argument)
    if principal is not None and not isinstance(principal, Principal):
        raise TypeError(
            f"`authenticate` returned {type(principal).__name__}. Return `Principal(tenant, scopes)` or None."
        )
    return principal


async def call_function(function: Callable[[T], Any], argument: T) -> Any:
    """Call a function of the host. A sync one runs in a thread, because it may read a database."""
    if _is_async(function):
        return await function(argument)
    # In a list, because Trio refuses a function that returns a coroutine.
    (found,) = await run_in_thread(lambda: [function(argument)], limiter=_threads())
    # A sync function may return a coroutine, such as a lambda around an async one.
    return await found if inspect.isawaitable(found) else found


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _threads() -> CapacityLimiter:
    # Separate from AnyIO's default limiter, so that slow lookups do not delay the host's own sync routes.
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(_THREADS)
        _limiter.set(limiter)
        return limiter


def sends_key(connection: HTTPConnection) -> bool:
    """Return whether the caller authenticates by the `Authorization` header. If that fails, cookies do not count."""
    scheme = connection.headers.get("authorization", "").partition(" ")[0]
    return bool(scheme) and scheme.lower() not in _SENT_BY_BROWSERS


def check_same_origin(connection: HTTPConnection, public_url: str | None = None) -> None:
    """Refuse a call that changes something and that another site may have caused. See `is_same_origin`.

    Raises:
        Forbidden: The call is not same-origin.
    """
    if not is_same_origin(connection, public_url):
        raise Forbidden(
            "This call came from another site, or does not name its origin. Call it from the portal, or send "
            "`Authorization: Bearer <key>`.",
            code="cross_origin",
        )


def is_same_origin(connection: HTTPConnection, public_url: str | None = None) -> bool:
    """Return whether a call cannot have been caused by another site, or changes nothing.

    Browsers send cookies and credentials of schemes such as Basic with requests that other sites cause. A call that was
    authenticated by a key cannot be such a request. Any other call must prove that it is same-origin, by
    `Sec-Fetch-Site` (Fetch Metadata) or by its `Origin`.

    Args:
        public_url: The URL of the host, if the request does not contain it.
    """
    if connection.scope.get("method") in _SAFE_METHODS or _is_by_key(connection):
        return True
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = _origin_of(connection.headers.get("origin", ""))
    return origin is not None and origin in (_own_origin(connection), _origin_of(public_url or ""))


def _is_by_key(connection: HTTPConnection) -> bool:
    if connection.scope.get(BY_KEY):
        return True
    # The host's own `authenticate` may have used a cookie, whatever the header says.
    scheme = connection.headers.get("authorization", "").partition(" ")[0]
    return scheme.lower() == "bearer" and "cookie" not in connection.headers


def _own_origin(connection: HTTPConnection) -> tuple[str, str] | None:
    return _origin_of(f"{connection.scope.get('scheme', 'http')}://{connection.headers.get('host', '')}")


def _origin_of(url: str) -> tuple[str, str] | None:
    """Return the scheme and authority of a URL, without the default port."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.username is not None:
        return None
    shown = "" if port in (None, _PORTS.get(parts.scheme)) else f":{port}"
    return parts.scheme, f"{parts.hostname}{shown}"
