"""Signatures of deliveries, as Standard Webhooks 1.0.0 defines them.

The signed content is `{id}.{timestamp}.{body}`, with exactly the bytes that are sent. The signature is HMAC-SHA256 in
base64, marked `v1`. A delivery has one signature per valid secret, so a secret can be rotated without interruption.

    from starlette_webhooks.signing import VerificationError, verify

    verify("whsec_...", request.headers, await request.body())

<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from starlette_webhooks.asymmetric import PUBLIC_PREFIX, SigningKey, is_signed_by
from starlette_webhooks.exceptions import WebhooksError

__all__ = ["VerificationError", "generate_secret", "parse_secret", "sign", "signature_headers", "verify"]

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
"""The headers of a request: a mapping as in frameworks, or pairs of name and value as in an ASGI scope."""

HeaderStyle: TypeAlias = Literal["webhook", "svix", "both"]

_PREFIX = "whsec_"
_MIN_BYTES = 24
_MAX_BYTES = 64
_FAMILIES: dict[str, tuple[str, ...]] = {"webhook": ("webhook",), "svix": ("svix",), "both": ("webhook", "svix")}
_NAMES = {
    family: tuple(f"{family}-{part}" for part in ("id", "timestamp", "signature")) for family in _FAMILIES["both"]
}
_ENCODED_NAMES = {family: tuple(name.encode() for name in names) for family, names in _NAMES.items()}
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,512}", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,15}", re.ASCII)


class VerificationError(WebhooksError, ValueError):
    """Raised for a request that is not a genuine webhook.

    Its signature headers are missing, malformed, too old, or do not match.
    """

    message = "The request is not a genuine webhook."


def generate_secret() -> str:
    """Generate a random secret: `whsec_` and 32 bytes in base64."""
    return _PREFIX + base64.b64encode(os.urandom(32)).decode()


def parse_secret(text: str) -> bytes:
    """Return the key of a secret: 24 to 64 bytes in base64. The prefix `whsec_` and the padding are optional.

    Args:
        text: The secret.

    Raises:
        ValueError: It is not a valid secret.
    """
    encoded = text.removeprefix(_PREFIX)
    if _BASE64.fullmatch(encoded) is None:
        raise ValueError("A secret is `whsec_` and 24 to 64 random bytes in base64, without spaces or line breaks.")
    try:
        key = base64.b64decode(encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4), validate=True)
    except binascii.Error:
        raise ValueError("The secret is truncated: it is not valid base64. Copy all of it.") from None
    if not _MIN_BYTES <= len(key) <= _MAX_BYTES:
        raise ValueError(f"The secret has {len(key)} bytes, but must have 24 to 64. Leave it out to generate one.")
    return key


def _signature(key: bytes, content: bytes) -> bytes:
    return b"v1," + base64.b64encode(hmac.digest(key, content, "sha256"))


def _content(message_id: str, timestamp: int, body: bytes) -> bytes:
    # With a full stop in the id, two different messages could have the same signed bytes.
    if "." in message_id:
        raise ValueError("The id of a message must not contain a full stop.")
    return b"%s.%d.%s" % (message_id.encode("ascii"), timestamp, body)


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature `v1,<base64>` of a message.

    Args:
        key: What `parse_secret` returns.
        message_id: The id of the message, without a full stop.
        timestamp: When this attempt is made, in whole seconds since the epoch.
        body: The bytes as they are sent.
    """
    return _signature(key, _content(message_id, timestamp, body)).decode("ascii")


def signature_headers(
    keys: Sequence[bytes],
    message_id: str,
    timestamp: int,
    body: bytes,
    style: HeaderStyle = "webhook",
    *,
    signing_keys: Sequence[SigningKey] = (),
) -> list[tuple[bytes, bytes]]:
    """Return the headers that sign a message: id, timestamp, and one signature per key, the current one first.

    Args:
        keys: What `parse_secret` returns for each valid secret.
        message_id: The id of the message, without a full stop.
        timestamp: When this attempt is made, in whole seconds since the epoch.
        body: The bytes as they are sent.
        style: `webhook` for the names of the standard, `svix` for those of Svix, `both` while customers migrate.
        signing_keys: Each adds a signature with ed25519, `v1a`.

    Raises:
        ValueError: There is no key to sign with.
    """
    if not keys:
        raise ValueError("A delivery must be signed with at least one key.")
    content = _content(message_id, timestamp, body)
    made = [_signature(key, content) for key in keys] + [key.sign(content) for key in signing_keys]
    signatures = b" ".join(made)
    values = (message_id.encode("ascii"), b"%d" % timestamp, signatures)
    return [pair for family in _FAMILIES[style] for pair in zip(_ENCODED_NAMES[family], values, strict=True)]


def verify(
    secret: str | bytes | Sequence[str | bytes],
    headers: Headers,
    body: bytes,
    *,
    tolerance: float = 300,
    now: float | None = None,
) -> None:
    """Check that a webhook is genuine and recent. Accepts `webhook-*` and `svix-*` headers.

    A genuine webhook can still arrive twice: remember its `webhook-id` for the time of `tolerance`, and skip repeats.

    Args:
        secret: The endpoint's secret (`whsec_...` or its bytes), or a public key of the sender (`whpk_...`, which needs
            the package `cryptography`), or several of them. One match is enough.
        body: The raw bytes of the request, before any parsing.
        tolerance: Seconds by which the timestamp may differ, in both directions.
        now: Seconds since the epoch. By default, the current time.

    Raises:
        VerificationError: The webhook is forged, changed, malformed or too old. Answer 400 and do not use it.
        ValueError: A secret or a public key is malformed.
    """
    if not isinstance(body, bytes):
        raise TypeError("`body` must be the raw bytes of the request, such as `await request.body()`.")
    keys, public_keys = _keys(secret)
    message_id, timestamp, signatures = signature_fields(headers)
    if _ID.fullmatch(message_id) is None:
        raise VerificationError("The id of the webhook is malformed.")
    if _TIMESTAMP.fullmatch(timestamp) is None:
        raise VerificationError("The timestamp of the webhook is not a whole number of seconds.")
    age = (time.time() if now is None else now) - int(timestamp)
    if not -tolerance <= age <= tolerance:
        raise VerificationError(f"The timestamp of the webhook is too {'old' if age > 0 else 'new'}.")
    content = b"%s.%s.%s" % (message_id.encode("ascii"), timestamp.encode("ascii"), body)
    if not _matches(content, keys, public_keys, signatures):
        raise VerificationError("No signature of the webhook matches. Check the secret, and pass the body unchanged.")


def _keys(secret: str | bytes | Sequence[str | bytes]) -> tuple[list[bytes], list[str]]:
    """The keys of secrets, and the public keys."""
    given = [secret] if isinstance(secret, str | bytes) else list(secret)
    public_keys = [item for item in given if isinstance(item, str) and item.startswith(PUBLIC_PREFIX)]
    secrets = [item for item in given if item not in public_keys]
    keys = [parse_secret(item) if isinstance(item, str) else item for item in secrets]
    if not given or not all(keys):
        raise ValueError("Pass the secret of the endpoint, or the public key of the sender.")
    return keys, public_keys


def _matches(content: bytes, keys: list[bytes], public_keys: list[str], signatures: str) -> bool:
    if not signatures.isascii():
        raise VerificationError("The signature of the webhook is malformed.")
    expected = [_signature(key, content) for key in keys]
    matched = False
    # There may be signatures of other versions. They cannot match, and are not an error.
    for candidate in signatures.encode("ascii").split(b" "):
        for signature in expected:
            matched |= hmac.compare_digest(candidate, signature)
        for public_key in public_keys:
            matched |= is_signed_by(public_key, content, candidate)
    return matched


def signature_fields(headers: Headers) -> tuple[str, str, str]:
    """Return the id, the timestamp and the signatures of a request. `verify` checks them.

    Raises:
        VerificationError: One of them is missing, or occurs more than once.
    """
    found: dict[str, list[str]] = {}
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        key = _text(name).lower()
        if key.startswith(("webhook-", "svix-")):
            found.setdefault(key, []).append(_text(value))
    for names in _NAMES.values():
        if all(name in found for name in names):
            break
    else:
        raise VerificationError("`webhook-id`, `webhook-timestamp` and `webhook-signature` are required.")
    # With two values, it is unclear which one the sender meant, and proxies differ.
    if any(len(found[name]) != 1 for name in names):
        raise VerificationError("A signature header occurs more than once.")
    message_id, timestamp, signatures = (found[name][0] for name in names)
    return message_id, timestamp, signatures


def _text(part: object) -> str:
    if isinstance(part, bytes):
        return part.decode("latin-1")
    if isinstance(part, str):
        return part
    raise VerificationError("A header of the webhook is neither text nor bytes.")
