"""Decides which addresses deliveries may go to: the guard against server-side request forgery (SSRF).

A customer chooses the URL and controls its DNS, so neither is trusted. URLs are parsed strictly. The host is resolved
here, each address is checked here, and the client connects to exactly the address that was checked. DNS rebinding,
where a name resolves differently a moment later, has no effect.

Addresses are checked against an explicit list, because the results of `ipaddress` differ between versions of Python.
Addresses that `ipaddress` does not call global are refused too. Sources: the IANA special-purpose address registries
(RFC 6890 and its successors) for IPv4 and IPv6, and the metadata services of cloud providers.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import quote

from anyio import CapacityLimiter, move_on_after, to_thread
from anyio.lowlevel import RunVar

from starlette_webhooks.exceptions import WebhooksError

__all__ = ["AddressGuard", "ForbiddenAddress", "InvalidURL", "ParsedURL", "parse_url"]

Resolve: TypeAlias = Callable[[str, int], Awaitable[Iterable[str]]]
"""Finds the IP addresses of a host. Raises `OSError` where there are none."""

_BLOCKED = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared, behind carriers' NAT; metadata of Alibaba Cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a public address, but inside Azure it is the agent of the host
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; metadata of Oracle Cloud
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnels
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        # Global unicast is 2000::/3 only. Outside are loopback, mapped and compatible IPv4, NAT64, discard-only,
        # segment routing, unique local, link-local, site-local, multicast and unassigned addresses.
        "::/3",
        "4000::/2",
        "8000::/1",
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the former 6bone
        "3fff::/20",  # documentation
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = IPv6Network("::/96")
_6TO4 = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")

_MAX_URL = 2048
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.*))?")
_HOST = re.compile(
    r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMERIC = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
_PORTS = {"http": 80, "https": 443}
_LOOKUPS = 128

_lookups: RunVar[CapacityLimiter] = RunVar("starlette_webhooks.delivery.addresses.lookups")


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


def _unwrap(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return all addresses that a packet to this one may reach. Each must be allowed."""
    if isinstance(address, IPv4Address):
        return [address]
    number = int(address)
    last = IPv4Address(number & 0xFFFFFFFF)
    if address in _MAPPED or address in _NAT64:
        # Other spellings of an IPv4 address. IPv6-only hosts see IPv4 addresses below `_NAT64`.
        return [last]
    if address in _6TO4:
        return [address, IPv4Address(number >> 80 & 0xFFFFFFFF)]
    if address in _TEREDO:
        return [address, IPv4Address(number >> 64 & 0xFFFFFFFF), IPv4Address(~number & 0xFFFFFFFF)]
    if address in _NAT64_LOCAL or (address in _COMPATIBLE and number > 1):
        return [address, last]
    return [address]


async def _lookup(host: str, port: int) -> list[str]:
    # The event loop's own lookup shares its few threads with the host. A customer whose DNS server never answers would
    # occupy all of them.
    try:
        limiter = _lookups.get()
    except LookupError:
        limiter = CapacityLimiter(_LOOKUPS)
        _lookups.set(limiter)
    search = partial(socket.getaddrinfo, host.encode("ascii"), port, type=socket.SOCK_STREAM)
    found = await to_thread.run_sync(search, abandon_on_cancel=True, limiter=limiter)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class AddressGuard:
    """Decides where deliveries may go.

    Args:
        networks_allowed: Networks allowed in addition to public ones, such as `127.0.0.0/8` in development.
        allow_http: Whether `http:` URLs are allowed in addition to `https:`.
        resolve: Finds the addresses of a host. The system's resolver by default.
        check_seconds: How long `check_host` waits for the resolver.
    """

    def __init__(
        self,
        networks_allowed: Sequence[IPv4Network | IPv6Network] = (),
        *,
        allow_http: bool = True,
        resolve: Resolve | None = None,
        check_seconds: float = 5.0,
    ) -> None:
        self._opened = tuple(networks_allowed)
        self._allow_http = allow_http
        self._check_seconds = check_seconds
        self._resolve: Resolve = resolve or _lookup
        self._judged = lru_cache(maxsize=4096)(self._judge)

    def is_allowed(self, address: str | IPv4Address | IPv6Address) -> bool:
        """Return whether deliveries may go to this IP address. False for other texts, and for `fe80::1%eth0`."""
        return self._judged(str(address))

    def _judge(self, text: str) -> bool:
        if "%" in text:
            return False
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return all(self._is_open(part) for part in _unwrap(address))

    def _is_open(self, address: IPv4Address | IPv6Address) -> bool:
        if any(address in network for network in self._opened):
            return True
        return not any(address in network for network in _BLOCKED) and address.is_global and not address.is_multicast

    def check_url(self, url: str) -> ParsedURL:
        """Parse a URL and refuse forbidden IP addresses in it, in any spelling. Does not resolve names.

        Raises:
            InvalidURL: Webhooks cannot be delivered to this URL.
            ForbiddenAddress: Its host is an IP address that is not allowed.
        """
        parsed = parse_url(url)
        if parsed.scheme == "http" and not self._allow_http:
            raise InvalidURL("The URL must begin with `https://`.")
        if parsed.literal and not self.is_allowed(parsed.host):
            raise ForbiddenAddress()
        return parsed

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the allowed addresses of a host, in the resolver's order.

        Raises:
            ForbiddenAddress: None of its addresses is allowed.
            OSError: The name is not found.
        """
        try:
            found = [str(ip_address(host))]
        except ValueError:
            found = list(dict.fromkeys(await self._resolve(host, port)))
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        # A name with some forbidden addresses is not refused: connecting to the others is safe.
        allowed = [address for address in found if self.is_allowed(address)]
        if not allowed:
            raise ForbiddenAddress()
        return allowed

    async def check_host(self, url: str) -> ParsedURL:
        """Check a URL and the addresses of its host. Used when an endpoint is saved.

        A name that is not found in time is accepted: its DNS record may be added later, and each connection is checked
        again.

        Raises:
            InvalidURL: Webhooks cannot be delivered to this URL.
            ForbiddenAddress: The host has forbidden addresses only.
        """
        parsed = self.check_url(url)
        with move_on_after(self._check_seconds):
            with suppress(OSError):
                await self.addresses(parsed.host, parsed.port)
        return parsed
