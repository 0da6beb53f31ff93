"""The JavaScript module for browsers, `client.js`, and its types. `GET /client.js` serves it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["read_module"]


@cache
def read_module(name: str) -> bytes:
    """Return the bytes of `client.js` or `client.d.ts`."""
    return files("starlette_webhooks.browser").joinpath(name).read_bytes()
