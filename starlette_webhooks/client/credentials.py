"""The key of a client, or the function that returns it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias
from urllib.parse import urlsplit

from starlette_webhooks._version import __version__
from starlette_webhooks.client.errors import ClientError

__all__ = ["AsyncKey", "Credentials", "Key", "base_url"]

Key: TypeAlias = "str | Callable[[], str] | None"
"""A key, or a function that returns the current one."""

AsyncKey: TypeAlias = "str | Callable[[], str | Awaitable[str]] | None"
"""A key, or a function, sync or async, that returns the current one."""


class Credentials:
    """Remembers the key until a server refuses it.

    Args:
        key: None sends no key.

    Attributes:
        key: The current key. None if there is none, or if it must be fetched.
        fetch: Returns the current key. None if the key never changes.
    """

    __slots__ = ("fetch", "key")

    def __init__(self, key: AsyncKey) -> None:
        self.key = key if isinstance(key, str) else None
        self.fetch = key if callable(key) else None

    def __repr__(self) -> str:
        return "Credentials(...)"

    @property
    def must_fetch(self) -> bool:
        """Whether `fetch` must be called before the next request."""
        return self.key is None and self.fetch is not None

    def refused(self, key: str | None) -> bool:
        """Note that a server refused this key. Returns whether there may be another one."""
        if self.fetch is None:
            return False
        # Another call may have fetched a new one meanwhile.
        if self.key == key:
            self.key = None
        return True

    def headers(self) -> dict[str, str]:
        """Return the headers of a request.

        Raises:
            ClientError: A header cannot contain the key.
        """
        headers = {"User-Agent": f"starlette-webhooks/{__version__}"}
        if self.key is None:
            return headers
        if not self.key.isascii():
            raise ClientError("The request cannot be sent: the key contains characters that are not ASCII.")
        return {**headers, "Authorization": f"Bearer {self.key.strip()}"}


def base_url(url: str) -> str:
    """Return the URL of an API without a slash at its end.

    Raises:
        ValueError: It is not an HTTP URL.
    """
    if not _is_base(url):
        raise ValueError("The URL must be that of the API, such as `https://example.com/api/v1/webhooks`.")
    return url.rstrip("/")


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return valid and not parts.query and not parts.fragment
