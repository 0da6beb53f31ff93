"""The certificate authorities that the HTTP clients of this package trust."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from functools import lru_cache

import httpx

__all__ = ["trusted_authorities"]


def trusted_authorities() -> ssl.SSLContext:
    """Return the context that HTTPX creates by default. Clients share it, as it takes 50 ms of a processor to create.

    It is another one after `SSL_CERT_FILE` or `SSL_CERT_DIR`, or what they name, has changed.

    Raises:
        OSError: `SSL_CERT_FILE` cannot be read. HTTPX 0.27 ignores one that does not exist.
    """
    return _load(*map(_state, ("SSL_CERT_FILE", "SSL_CERT_DIR")))


@lru_cache(maxsize=1)
def _load(*_: object) -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _state(variable: str) -> tuple[str, int]:
    path, changed = os.environ.get(variable, ""), 0
    with suppress(OSError):
        changed = os.stat(path).st_mtime_ns
    return path, changed
