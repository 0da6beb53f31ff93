"""Signatures with ed25519, version `v1a` of Standard Webhooks. The key that verifies them cannot forge them.

Keys are `whsk_` and `whpk_` with base64, as in Svix. A secret key is the seed of 32 bytes, optionally
followed by the public key of 32 bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["PUBLIC_PREFIX", "VERSION", "SigningKey", "generate_signing_key", "is_signed_by", "key_set"]

PUBLIC_PREFIX = "whpk_"
VERSION = b"v1a,"
_SECRET_PREFIX = "whsk_"
_BYTES = 32


class SigningKey:
    """A secret key of the host.

    Attributes:
        public_key: `whpk_` and the public key in base64, for `verify`.

    Raises:
        ValueError: The text is not a key, or the package `cryptography` is not installed. The message does not repeat
            the key.
    """

    def __init__(self, text: str) -> None:
        key = _decode(text, _SECRET_PREFIX)
        if len(key) not in (_BYTES, 2 * _BYTES):
            raise ValueError("A signing key is `whsk_` and 32 or 64 bytes in base64.")
        _require_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(key[:_BYTES])
        public = self._key.public_key().public_bytes_raw()
        if key[_BYTES:] not in (b"", public):
            raise ValueError("The two halves of the signing key do not match.")
        self.public_key = PUBLIC_PREFIX + base64.b64encode(public).decode()

    def __repr__(self) -> str:
        return f"SigningKey({self.public_key!r})"

    def sign(self, content: bytes) -> bytes:
        """Return the signature of a signed content: `v1a,<base64>`."""
        return VERSION + base64.b64encode(self._key.sign(content))

    def jwk(self) -> dict[str, str]:
        """Return the public key as a JSON Web Key (RFC 8037), with its thumbprint (RFC 7638) as id."""
        raw = base64.b64decode(self.public_key.removeprefix(PUBLIC_PREFIX))
        required = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}
        thumbprint = hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest()
        return {**required, "kid": _base64url(thumbprint), "use": "sig", "alg": "EdDSA"}


def generate_signing_key() -> str:
    """Generate a random key: `whsk_` and 64 bytes in base64."""
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return _SECRET_PREFIX + base64.b64encode(key.private_bytes_raw() + key.public_key().public_bytes_raw()).decode()


def key_set(keys: Sequence[SigningKey]) -> bytes:
    """Return the public keys as a JSON Web Key Set."""
    return json.dumps({"keys": [key.jwk() for key in keys]}, separators=(",", ":")).encode()


def is_signed_by(public_key: str, content: bytes, signature: bytes) -> bool:
    """Return whether a signature `v1a,<base64>` was made with the secret key of this public key, `whpk_...`.

    Raises:
        ValueError: The text is not a public key, or the package `cryptography` is not installed.
    """
    key = _public_key(public_key)
    if not signature.startswith(VERSION):
        return False
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(base64.b64decode(signature.removeprefix(VERSION), validate=True), content)
    except (InvalidSignature, binascii.Error):
        return False
    return True


@lru_cache(maxsize=64)
def _public_key(text: str) -> Ed25519PublicKey:
    raw = _decode(text, PUBLIC_PREFIX)
    if len(raw) != _BYTES:
        raise ValueError("A public key is `whpk_` and 32 bytes in base64.")
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(raw)


def _decode(text: str, prefix: str) -> bytes:
    try:
        if not text.startswith(prefix):
            raise ValueError
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except ValueError:
        raise ValueError(f"The key must begin with `{prefix}`, followed by base64.") from None


def _require_cryptography() -> None:
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ModuleNotFoundError as exc:
        raise ValueError(
            "Signatures with ed25519 require `cryptography`. Install it with `pip install cryptography`."
        ) from exc


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
