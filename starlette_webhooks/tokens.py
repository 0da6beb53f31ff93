"""Signed tokens: stream tickets and portal sessions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

__all__ = ["read_token", "sign_token", "verify_token"]


def sign_token(keys: Sequence[bytes], purpose: str, claims: dict[str, Any]) -> str:
    """Sign a token, which only `read_token` with the same purpose and the first of these keys accepts.

    Base64url JSON, `.`, HMAC-SHA256.
    """
    body = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).rstrip(b"=")
    return f"{body.decode()}.{_mac(keys[0], purpose, body)}"


def read_token(keys: Sequence[bytes], purpose: str, token: str, *, now: float) -> dict[str, Any] | None:
    """Return the claims of a token, or None if it is not ours, was changed, or its `exp` (seconds) has passed."""
    claims = verify_token(keys, purpose, token)
    return claims if claims is not None and claims["exp"] > now else None


def verify_token(keys: Sequence[bytes], purpose: str, token: str) -> dict[str, Any] | None:
    """Return the claims of a token, expired or not, or None if it is not ours or was changed."""
    body, _, mac = token.partition(".")
    if not token.isascii() or not any(hmac.compare_digest(mac, _mac(key, purpose, body.encode())) for key in keys):
        return None
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


def _mac(key: bytes, purpose: str, body: bytes) -> str:
    digest = hmac.digest(key, purpose.encode() + b"." + body, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
