"""Who calls: principals, scopes, API keys, stream tickets, and the same-origin rule for cookie sessions."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from starlette.requests import HTTPConnection

from starlette_webhooks.exceptions import Forbidden

__all__ = ["APIKeys", "Authenticate", "Principal", "call_authenticate", "check_same_origin", "default_authenticate"]

T = TypeVar("T")

_THREADS = 40
_limiter: RunVar[CapacityLimiter] = RunVar("starlette_webhooks.authentication.threads")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True, init=False)
class Principal:
    """Who calls.

    Args:
        tenant: Whose events and endpoints the call sees and touches.
        scopes: What it may do: `webhooks:read`, `webhooks:write`, or as the settings name them.
    """

    tenant: str
    scopes: frozenset[str]

    def __init__(self, tenant: str | int | UUID, scopes: Collection[str] = ()) -> None:
        if isinstance(tenant, (int, UUID)) and not isinstance(tenant, bool):
            tenant = str(tenant)
        if not isinstance(tenant, str) or not tenant:
            raise TypeError(f"`tenant` must be a string, an int or a UUID, not {tenant!r}.")
        if isinstance(scopes, str):
            raise TypeError(f"`scopes` must be a collection of strings. Use `[{scopes!r}]`.")
        object.__setattr__(self, "tenant", tenant)
        object.__setattr__(self, "scopes", frozenset(scopes))


Authenticate: TypeAlias = Callable[[HTTPConnection], Principal | None | Awaitable[Principal | None]]
"""Tells who calls: a `Principal`, or None for an anonymous call. A sync one runs in a thread."""


async def default_authenticate(connection: HTTPConnection) -> Principal | None:
    """The user of Starlette's `AuthenticationMiddleware`: `user.identity` is the tenant, `auth.scopes` the scopes."""
    user = connection.scope.get("user")
    # Users of other frameworks' middleware are of any type.
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    return Principal(str(user.identity), getattr(connection.scope.get("auth"), "scopes", ()))


class APIKeys:
    """Authenticates `Authorization: Bearer <key>`, and requests without a key by `fallback`.

    Args:
        lookup: Returns the principal of a key, or None for a key that is not valid. A sync one runs in a thread.
        fallback: How to authenticate requests without a Bearer key, for example by the host's session.
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
        """The principal of a request, or None."""
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await _call(self._lookup, key.strip())
        return None if self._fallback is None else await call_authenticate(self._fallback, connection)


async def call_authenticate(authenticate: Authenticate, connection: HTTPConnection) -> Principal | None:
    """Call an `authenticate`: an async one here, a sync one in a thread, since it may read a database."""
    return await _call(authenticate, connection)


async def _call(function: Callable[[T], Any], argument: T) -> Principal | None:
    if _is_async(function):
        principal = await function(argument)
    else:
        # In a list, as Trio refuses a function that returns a coroutine.
        (principal,) = await to_thread.run_sync(lambda: [function(argument)], limiter=_threads())
        if inspect.isawaitable(principal):
            # A sync function that returns a coroutine, such as a lambda around an async one.
            principal = await principal
    if principal is not None and not isinstance(principal, Principal):
        raise TypeError(
            f"`authenticate` returned {type(principal).__name__}. Return `Principal(tenant, scopes)` or None."
        )
    return principal


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _threads() -> CapacityLimiter:
    # Apart from AnyIO's default, which serves the host's own sync routes: slow lookups must not hold those up.
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(_THREADS)
        _limiter.set(limiter)
        return limiter


def check_same_origin(connection: HTTPConnection) -> None:
    """Refuse a changing call that another site may have caused.

    A browser sends cookies, and what Basic and like schemes need, along with requests that other sites make it send. A
    request with a Bearer key cannot be one of those; any other must say that it is same-origin, by `Sec-Fetch-Site`
    (Fetch Metadata), or by an `Origin` that is ours.

    Raises:
        Forbidden: It does not.
    """
    scheme = connection.headers.get("authorization", "").partition(" ")[0]
    if connection.scope.get("method") in _SAFE_METHODS or scheme.lower() == "bearer":
        return
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        same = site == "same-origin"
    else:
        host = _host_of(connection.headers.get("origin", ""))
        same = bool(host) and host == connection.headers.get("host", "").lower()
    if not same:
        raise Forbidden(
            "This call came from another site, or does not tell where from. Call it from the page itself, or send "
            "`Authorization: Bearer <key>`.",
            code="cross_origin",
        )


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
