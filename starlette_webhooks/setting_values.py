"""Checks of settings, one function per kind of value. Error messages do not contain the value."""

from __future__ import annotations

import re
import ssl
from functools import lru_cache
from ipaddress import IPv6Network, ip_network
from typing import Any

from pydantic import SecretStr

from starlette_webhooks.asymmetric import SigningKey
from starlette_webhooks.database_url import parse_database
from starlette_webhooks.proxy_url import parse_proxy

__all__ = [
    "check_certificates",
    "check_database",
    "check_keys",
    "check_logo",
    "check_nat64",
    "check_origins",
    "check_ports",
    "check_proxy",
    "check_public_url",
    "check_schedule",
    "check_signing_keys",
    "keys_of",
    "read_networks",
    "signing_keys_of",
    "split",
]

# Both are part of a Content-Security-Policy, where a space or a semicolon would start something else.
_ORIGIN = re.compile(r"https?://(\*\.)?[a-zA-Z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-fA-F:.]+\](:\d{1,5})?", re.ASCII)
_LOGO = re.compile(
    r"/(?!/)[^\s\\]*|https://[a-zA-Z0-9.-]+(:\d{1,5})?/[^\s\\]*|data:image/[a-z0-9.+-]+[;,]\S+", re.ASCII
)
_PUBLIC_URL = re.compile(
    r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?(/[a-zA-Z0-9._~!$&'()*+,=:@%-]*)*", re.ASCII
)
_KEY_BYTES = 32
_NAT64_LENGTHS = frozenset((32, 40, 48, 56, 64, 96))


def check_database(value: str) -> str:
    """Accept a path, or the URL of a database that there is a store for."""
    parse_database(value)
    return value


def check_keys(value: SecretStr | None) -> SecretStr | None:
    """Accept keys of 32 bytes or more, separated by commas."""
    if value is not None and any(len(key) < _KEY_BYTES for key in keys_of(value)):
        raise ValueError(
            f"a key must have at least {_KEY_BYTES} bytes, and several keys are separated by commas. Make one with "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        )
    return value


def check_signing_keys(value: SecretStr | None) -> SecretStr | None:
    """Accept ed25519 keys, separated by commas."""
    if value is not None:
        signing_keys_of(value.get_secret_value())
    return value


def check_proxy(value: SecretStr | None) -> SecretStr | None:
    """Accept the URL of an HTTP proxy."""
    if value is not None:
        parse_proxy(value.get_secret_value())
    return value


def check_certificates(value: str | None) -> str | None:
    """Accept the path of a file with certificates."""
    if value is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
        except OSError as exc:
            raise ValueError(f"the certificates cannot be read: {exc}") from exc
    return value


def check_ports(value: tuple[int, ...]) -> tuple[int, ...]:
    """Accept ports from 1 to 65535."""
    if any(not 1 <= port <= 65535 for port in value):
        raise ValueError("give ports from 1 to 65535, separated by commas, such as `443,8443`")
    return value


def check_nat64(value: tuple[IPv6Network, ...]) -> tuple[IPv6Network, ...]:
    """Accept prefixes of the lengths that NAT64 has (RFC 6052, section 2.2)."""
    if any(network.prefixlen not in _NAT64_LENGTHS for network in value):
        raise ValueError("a NAT64 prefix has 32, 40, 48, 56, 64 or 96 bits, such as `2001:db8:64::/96`")
    return value


def check_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    """Accept origins, with a wildcard for the first label of their hosts."""
    if not all(_ORIGIN.fullmatch(origin) for origin in value):
        raise ValueError("give origins separated by commas, such as `https://app.example.com,https://*.example.org`")
    return value


def check_public_url(value: str | None) -> str | None:
    """Accept an absolute URL without a query. Returns it without a slash at the end."""
    if value is not None and not _PUBLIC_URL.fullmatch(value):
        raise ValueError("give an absolute URL without a query, such as `https://example.com/api/v1/webhooks`")
    return None if value is None else value.rstrip("/")


def check_logo(value: str | None) -> str | None:
    """Accept a path, an `https:` URL, or an image in a `data:` URL."""
    if value is not None and not _LOGO.fullmatch(value):
        raise ValueError("give a path such as `/logo.svg`, an `https:` URL, or a `data:image/` URL")
    return value


def read_networks(value: Any) -> Any:
    """Read networks that are separated by commas."""
    return tuple(ip_network(part) if isinstance(part, str) else part for part in split(value))


def check_schedule(value: tuple[float, ...]) -> tuple[float, ...]:
    """Accept delays of 30 days at most."""
    if not value or any(not 0 <= delay <= 30 * 86400 for delay in value):
        raise ValueError("give seconds from 0 to 2592000, separated by commas, such as `0,5,300`")
    return value


@lru_cache(maxsize=8)
def signing_keys_of(text: str) -> tuple[SigningKey, ...]:
    """Return the keys of `signing_key`."""
    return tuple(SigningKey(part.strip()) for part in text.split(","))


def keys_of(value: SecretStr) -> tuple[bytes, ...]:
    """Return the keys of `secret_key` or `encryption_key`."""
    return tuple(part.strip().encode() for part in value.get_secret_value().split(","))


def split(value: Any) -> Any:
    """Return the parts of a text that are separated by commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
