"""Encrypts secrets at rest with AES-256-GCM and keys of the host.

A sealed text is `sealed1.<key id>.<nonce and ciphertext in base64url>`. It is bound to its tenant and kind: a copy in a
row of another tenant cannot be opened. Texts that are not sealed are returned unchanged, so a key can be introduced
while the app is running.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from starlette_webhooks.exceptions import BackendUnavailable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["NOT_ENCRYPTED", "SEALED", "CannotDecrypt", "SecretBox"]

SEALED = "sealed1."
"""The prefix of sealed texts. The id of the key follows, in eight characters."""

_NONCE = 12
_INFO = b"starlette-webhooks secrets 1"
_SECRET, _HEADERS, _KEY = "secret", "headers", "key"
# No header has this name. It marks the sealed form of an endpoint's headers.
_ALL_HEADERS = ""


class CannotDecrypt(BackendUnavailable):
    """Raised for a secret that none of the keys decrypts."""

    message: ClassVar[str] = (
        "A secret in the database is encrypted with a key that is missing in `WEBHOOKS_ENCRYPTION_KEY`. Add the key."
    )


class SecretBox:
    """Seals and opens secrets in the database.

    Args:
        keys: The first one seals, and all of them open. Without keys, nothing is sealed.

    Raises:
        ValueError: There are keys, but the extra `encryption` is not installed.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._ciphers = dict(map(_cipher, keys))
        self._first = next(iter(self._ciphers), None)
        # Cached, because each delivery needs the secret of its endpoint.
        self._opened = lru_cache(maxsize=4096)(self._open)

    @property
    def key_ids(self) -> Collection[str]:
        """The ids of the keys. The first one seals."""
        return self._ciphers.keys()

    def is_current(self, text: str) -> bool:
        """Return whether a stored text is sealed with the first key, or not sealed if there are no keys."""
        return not _is_sealed(text) if self._first is None else text.startswith(f"{SEALED}{self._first}.")

    # Secrets

    def seal_secret(self, secret: str, tenant: str) -> str:
        """Return the stored form of an endpoint's secret."""
        return self._seal(secret, _SECRET, tenant)

    def open_secret(self, stored: str, tenant: str) -> str:
        """Return an endpoint's secret. Raises `CannotDecrypt`."""
        return self._opened(stored, _SECRET, tenant)

    # Headers. All headers of an endpoint are sealed together, including names.

    def seal_headers(self, headers: Mapping[str, str], tenant: str) -> Mapping[str, str]:
        """Return the stored form of an endpoint's headers."""
        if self._first is None or not headers:
            return headers
        return {_ALL_HEADERS: self._seal(json.dumps(dict(headers)), _HEADERS, tenant)}

    def open_headers(self, stored: Mapping[str, str], tenant: str) -> Mapping[str, str]:
        """Return an endpoint's headers. Raises `CannotDecrypt`."""
        sealed = stored.get(_ALL_HEADERS)
        if sealed is None:
            return stored
        headers: dict[str, str] = json.loads(self._opened(sealed, _HEADERS, tenant))
        return headers

    def has_current_headers(self, stored: Mapping[str, str]) -> bool:
        """Return whether stored headers are sealed with the first key."""
        sealed = stored.get(_ALL_HEADERS)
        if sealed is None:
            return self._first is None or not stored
        return self.is_current(sealed)

    # The key of sessions and tickets

    def seal_key(self, key: bytes) -> bytes:
        """Return the stored form of a generated key."""
        return key if self._first is None else self._seal(base64.b64encode(key).decode(), _KEY, "").encode()

    def open_key(self, stored: bytes) -> bytes:
        """Return a generated key. Raises `CannotDecrypt`."""
        if not stored.startswith(SEALED.encode()):
            return stored
        return base64.b64decode(self._open(stored.decode(), _KEY, ""))

    def _seal(self, text: str, kind: str, tenant: str) -> str:
        if self._first is None:
            return text
        nonce = os.urandom(_NONCE)
        data = nonce + self._ciphers[self._first].encrypt(nonce, text.encode(), _context(kind, tenant))
        return f"{SEALED}{self._first}.{base64.urlsafe_b64encode(data).decode()}"

    def _open(self, stored: str, kind: str, tenant: str) -> str:
        if not _is_sealed(stored):
            return stored
        key_id, _, encoded = stored.removeprefix(SEALED).partition(".")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise CannotDecrypt
        from cryptography.exceptions import InvalidTag

        try:
            data = base64.urlsafe_b64decode(encoded)
            return cipher.decrypt(data[:_NONCE], data[_NONCE:], _context(kind, tenant)).decode()
        except (InvalidTag, ValueError):
            raise CannotDecrypt("A secret in the database was modified, or belongs to another tenant.") from None


def _is_sealed(text: str) -> bool:
    return text.startswith(SEALED)


def _context(kind: str, tenant: str) -> bytes:
    return f"{kind}\0{tenant}".encode()


def _cipher(key: bytes) -> tuple[str, AESGCM]:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ModuleNotFoundError as exc:
        raise ValueError(
            "`WEBHOOKS_ENCRYPTION_KEY` requires `cryptography`. Install it with `pip install cryptography`."
        ) from exc
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(key)
    return hashlib.sha256(b"id" + derived).hexdigest()[:8], AESGCM(derived)


NOT_ENCRYPTED = SecretBox()
"""Seals nothing, and returns unsealed texts."""
