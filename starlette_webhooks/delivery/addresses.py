"""Decides which addresses deliveries may go to: the guard against server-side request forgery (SSRF).

A customer chooses the URL and controls its DNS, so neither is trusted. URLs are parsed strictly. The host is resolved
here, each address is checked here, and the client connects to exactly the address that was checked. DNS rebinding,
where a name resolves differently a moment later, has no effect.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias
from urllib.parse import quote

from starlette_webhooks.delivery.lookups import Lookups
from starlette_webhooks.delivery.networks import Networks
from starlette_webhooks.exceptions import WebhooksError

__all__ = ["AddressGuard", "ForbiddenAddress", "InvalidURL", "ParsedURL", "parse_url"]

Resolve: TypeAlias = Callable[[str, int], Awaitable[Iterable[str]]]
"""Finds the IP addresses of a host. Raises `OSError` where there are none."""

_MAX_URL = 2048
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.*))?")
_HOST = re.compile(
    r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMERIC = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
_PORTS = {"http": 80, "https": 443}
_LOOPBACK = ("127.0.0.1", "::1")


class InvalidURL(WebhooksError, ValueError):
    """Raised for a URL that webhooks cannot be delivered to."""

    message = "Webhooks cannot be delivered to this URL. Use one like `https://example.com/webhooks`."


class ForbiddenAddress(WebhooksError, ValueError):
    """Raised for a URL that leads to an address that is not allowed."""

    message = (
        "The URL leads to an address that is not allowed. Use a host that can be reached from the public internet."
    )


@dataclass(frozen=True, slots=True)
class ParsedURL:
    """A parsed URL, as it is sent.

    Attributes:
        host: In lower case and ASCII, without brackets. IPv4 addresses are in dotted decimal form.
        authority: For the `Host` header, without the default port of the scheme.
        target: Path and query, percent-encoded.
        literal: Whether the host is an IP address.
    """

    scheme: str
    host: str
    port: int
    authority: bytes
    target: bytes
    literal: bool

    @property
    def origin(self) -> tuple[str, str, int]:
        """The key of the connection pool: scheme, host and port."""
        return (self.scheme, self.host, self.port)


@lru_cache(maxsize=4096)
def parse_url(url: str) -> ParsedURL:
    """Parse an endpoint's URL.

    Raises:
        InvalidURL: It is not an absolute `http:` or `https:` URL, or it is ambiguous between programs.
    """
    if len(url) > _MAX_URL:
        raise InvalidURL(f"The URL is longer than {_MAX_URL} characters.")
    if not url.isprintable() or " " in url or "\\" in url:
        raise InvalidURL("The URL contains a space, a backslash or a control character. Percent-encode it: `%20`.")
    parts = _URL.fullmatch(url)
    scheme = parts[1].lower() if parts is not None else ""
    if parts is None or scheme not in _PORTS:
        raise InvalidURL("The URL must begin with `https://` or `http://`.")
    if "@" in parts[2]:
        raise InvalidURL("The URL must not contain a user name or a password. Put credentials into a header instead.")
    if parts[5] is not None:
        raise InvalidURL("The URL must not have a fragment (`#...`), since fragments are not sent.")
    authority = _AUTHORITY.fullmatch(parts[2])
    if authority is None or not authority[1]:
        raise InvalidURL("The URL has no valid host. Use a URL like `https://example.com/webhooks`.")
    host, literal = _host(authority[1])
    port = _port(authority[2], _PORTS[scheme])
    shown = f"[{host}]" if ":" in host else host
    target = quote((parts[3] or "/") + (parts[4] or ""), safe="!#$%&'()*+,/:;=?@[]~")
    return ParsedURL(
        scheme,
        host,
        port,
        (shown if port == _PORTS[scheme] else f"{shown}:{port}").encode("ascii"),
        target.encode("ascii"),
        literal,
    )


def _port(text: str | None, default: int) -> int:
    # The port may be empty (RFC 3986, 3.2.3).
    if not text:
        return default
    if re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) is None or not 1 <= int(text) <= 65535:
        raise InvalidURL("The port of the URL must be a number from 1 to 65535.")
    return int(text)


def _host(text: str) -> tuple[str, bool]:
    if text.startswith("["):
        try:
            if "%" in text:
                raise ValueError
            return str(IPv6Address(text[1:-1])), True
        except ValueError:
            raise InvalidURL("The host of the URL is not a valid IPv6 address.") from None
    # Full-width digits and similar characters are normalised first, so that the address they represent is checked.
    host = (text.lower() if text.isascii() else _idna(text)).removesuffix(".")
    if _HOST.fullmatch(host) is None:
        raise InvalidURL("The host of the URL is not a valid name. Use one like `example.com`.")
    if _NUMERIC.fullmatch(host.rpartition(".")[2]):
        return str(_ipv4(host)), True
    return host, False


def _idna(text: str) -> str:
    import idna  # A dependency of AnyIO. Imported late, because few URLs need it and its tables are large.

    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except UnicodeError:
        raise InvalidURL("The host of the URL is not a valid internationalised name.") from None


def _ipv4(host: str) -> IPv4Address:
    """Parse an address like `inet_aton`: `127.1`, `0x7f000001`, `0177.0.0.1` and `2130706433` are the same."""
    try:
        numbers = [_number(part) for part in host.split(".")]
        *heads, last = numbers
        if len(numbers) > 4 or any(number > 255 for number in heads) or last >= 256 ** (5 - len(numbers)):
            raise ValueError
    except ValueError:
        raise InvalidURL("The host of the URL is not a valid IPv4 address.") from None
    return IPv4Address(sum(number << 8 * (3 - place) for place, number in enumerate(heads)) + last)


def _number(part: str) -> int:
    if _NUMERIC.fullmatch(part) is None:
        raise ValueError
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8 if part.startswith("0") else 10)


class AddressGuard:
    """Decides where deliveries may go.

    Args:
        networks: Which networks deliveries may go to. Public ones by default.
        ports: The ports that URLs may have. All by default.
        allow_http: Whether `http:` URLs are allowed in addition to `https:`.
        resolve: Finds the addresses of a host. The system's resolver by default.
        lookups: The lookups by the system's resolver.
    """

    def __init__(
        self,
        networks: Networks | None = None,
        *,
        ports: Collection[int] = (),
        allow_http: bool = True,
        resolve: Resolve | None = None,
        lookups: Lookups | None = None,
    ) -> None:
        self._networks = networks or Networks()
        self._ports = ports
        self._allow_http = allow_http
        self._resolve = resolve
        self._lookups = lookups or Lookups()

    def is_allowed(self, address: str | IPv4Address | IPv6Address) -> bool:
        """Return whether deliveries may go to this IP address. False for other texts, and for `fe80::1%eth0`."""
        return self._networks.allow(str(address))

    def check_url(self, url: str) -> ParsedURL:
        """Parse a URL and refuse forbidden IP addresses in it, in any spelling.

        Names are not resolved: the answer would tell customers which names exist in the host's own network. They are
        resolved and checked for each connection.

        Raises:
            InvalidURL: Webhooks cannot be delivered to this URL.
            ForbiddenAddress: Its host is an IP address that is not allowed, or `localhost`.
        """
        parsed = parse_url(url)
        if parsed.scheme == "http" and not self._allow_http:
            raise InvalidURL("The URL must begin with `https://`.")
        if self._ports and parsed.port not in self._ports:
            raise InvalidURL(f"The port of the URL must be one of {', '.join(map(str, self._ports))}.")
        if parsed.literal and not self.is_allowed(parsed.host):
            raise ForbiddenAddress()
        if _is_this_host(parsed.host) and not any(map(self.is_allowed, _LOOPBACK)):
            raise ForbiddenAddress()
        return parsed

    async def addresses(self, host: str, port: int, *, tenant: str = "") -> list[str]:
        """Return the allowed addresses of a host, in the resolver's order.

        Args:
            tenant: For whom. Each has a share of the lookups that run at a time.

        Raises:
            ForbiddenAddress: None of its addresses is allowed.
            OSError: The name is not found.
        """
        try:
            found = [str(ip_address(host))]
        except ValueError:
            found = list(dict.fromkeys(await self._find(host, port, tenant)))
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        # A name with some forbidden addresses is not refused: connecting to the others is safe.
        allowed = [address for address in found if self.is_allowed(address)]
        if not allowed:
            raise ForbiddenAddress()
        return allowed

    async def _find(self, host: str, port: int, tenant: str) -> Iterable[str]:
        if self._resolve is not None:
            return await self._resolve(host, port)
        return await self._lookups.find(host, port, tenant=tenant)


def _is_this_host(host: str) -> bool:
    # RFC 6761, section 6.3.
    return host == "localhost" or host.endswith(".localhost")
