"""Decides which networks deliveries may go to: public ones, with the operator's exceptions.

Addresses are checked against an explicit list, because the results of `ipaddress` differ between versions of Python.
Addresses that `ipaddress` does not call global are refused too. Sources: the IANA special-purpose address registries
(RFC 6890 and its successors) for IPv4 and IPv6, and the metadata services of cloud providers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

__all__ = ["Network", "Networks"]

Network: TypeAlias = IPv4Network | IPv6Network

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


class Networks:
    """Public networks, with exceptions.

    Args:
        allowed: Networks allowed in addition to public ones, such as `127.0.0.0/8` in development.
        denied: Networks that are refused in any case.
        nat64: Prefixes of the operator's NAT64, in addition to `64:ff9b::/96`. An address
            below one of them counts as the IPv4 address that it contains.
    """

    def __init__(
        self, allowed: Sequence[Network] = (), denied: Sequence[Network] = (), nat64: Sequence[IPv6Network] = ()
    ) -> None:
        self._allowed = tuple(allowed)
        self._denied = tuple(denied)
        self._nat64 = tuple(nat64)
        self._judged = lru_cache(maxsize=4096)(self._judge)

    def allow(self, address: str) -> bool:
        """Return whether deliveries may go to this IP address. False for other texts, and for `fe80::1%eth0`."""
        return self._judged(address)

    def _judge(self, text: str) -> bool:
        if "%" in text:
            return False
        try:
            address = ip_address(text)
        except ValueError:
            return False
        parts = _unwrap(address, self._nat64)
        if any(part in network for part in (address, *parts) for network in self._denied):
            return False
        return all(self._is_open(part) for part in parts)

    def _is_open(self, address: IPv4Address | IPv6Address) -> bool:
        if any(address in network for network in self._allowed):
            return True
        return not any(address in network for network in _BLOCKED) and address.is_global and not address.is_multicast


def _unwrap(address: IPv4Address | IPv6Address, nat64: Sequence[IPv6Network]) -> list[IPv4Address | IPv6Address]:
    """Return all addresses that a packet to this one may reach. Each must be allowed."""
    if isinstance(address, IPv4Address):
        return [address]
    number = int(address)
    last = IPv4Address(number & 0xFFFFFFFF)
    for prefix in nat64:
        if address in prefix:
            return [_embedded(number, prefix.prefixlen)]
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


def _embedded(number: int, length: int) -> IPv4Address:
    """Return the IPv4 address in an address of a NAT64 prefix (RFC 6052, section 2.2)."""
    bits = f"{number:0128b}"
    # The bits 64 to 71 are reserved, and the address goes around them.
    after = bits[length:64] + bits[72:] if length < 96 else bits[96:]
    return IPv4Address(int(after[:32], 2))
