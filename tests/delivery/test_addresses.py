"""Where deliveries may go: every special-purpose address in every spelling, hostile URLs, and rebinding."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, settings, strategies as st

from starlette_webhooks.delivery.addresses import AddressGuard, ForbiddenAddress, InvalidURL, parse_url
from starlette_webhooks.delivery.networks import Networks
from starlette_webhooks.delivery.origins import moves, shown_origin
from starlette_webhooks.endpoints import EndpointChanges

PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.17
    169.253.255.255 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255
    2001:200::1 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450:4001::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8
"""

FORBIDDEN = """
    0.0.0.0 0.255.255.255 10.0.0.1 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 127.0.0.1
    127.255.255.255 168.63.129.16 169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.0.9
    192.0.0.192 192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.1 192.175.48.1 198.18.0.1 198.19.255.255
    198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::2 ::127.0.0.1 ::8.8.8.8
    ::ffff:0.0.0.0 ::ffff:10.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::10.0.0.1
    64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::8.8.8.8 64:ff9b:1::10.0.0.1 100::1 100:0:0:1::1 2001::1
    2001:0:7f00:1::f5ff:fffe 2001:2::1 2001:10::1 2001:20::1 2001:1ff:ffff::1 2001:db8::1 2002:7f00:1::1
    2002:a00:1::1 2002:808:808::1 2620:4f:8000::1 3ffe::1 3fff::1 4000::1 5f00::1 8000::1 fc00::1 fd00:ec2::254
    fe80::1 fe80::1%eth0 fe80::1%1 2606:4700:4700::1111%eth0 febf::1 fec0::1 ff02::1 ff0e::1
    ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff localhost 010.0.0.1 127.1 2130706433 [::1]
"""


def resolver(*answers: Iterable[str] | OSError) -> Callable[[str, int], Awaitable[Iterable[str]]]:
    """A resolver that returns these answers in turn, and then always the last one."""
    waiting = list(answers)

    async def resolve(host: str, port: int) -> Iterable[str]:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    return resolve


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_are_allowed(address: str) -> None:
    assert AddressGuard().is_allowed(address)
    assert AddressGuard().is_allowed(ip_address(address))


@pytest.mark.parametrize("address", [*FORBIDDEN.split(), "", "8.8.8.8 "])
def test_every_other_address_is_forbidden(address: str) -> None:
    assert not AddressGuard().is_allowed(address)


@settings(max_examples=300)
@given(st.ip_addresses())
def test_no_address_that_python_calls_special_is_allowed(address: IPv4Address | IPv6Address) -> None:
    special = not address.is_global or address.is_multicast or address.is_reserved or address.is_link_local
    if special and not address.exploded.startswith(("0064:ff9b:0000", "0000:0000:0000:0000:0000:ffff")):
        assert not AddressGuard().is_allowed(address)


@settings(max_examples=300)
@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_treated_the_same_in_every_ipv6_form(address: IPv4Address) -> None:
    guard = AddressGuard()
    allowed = guard.is_allowed(address)
    assert guard.is_allowed(IPv6Address(0xFFFF << 32 | int(address))) is allowed
    assert guard.is_allowed(IPv6Address(0x64FF9B << 96 | int(address))) is allowed
    # Tunnels that are no longer in use.
    assert not guard.is_allowed(IPv6Address(0x2002 << 112 | int(address) << 80 | 1))
    assert not guard.is_allowed(IPv6Address(0x20010000 << 96 | ~int(address) & 0xFFFFFFFF))


def test_allowed_networks_are_allowed_in_every_ipv6_form_and_no_others() -> None:
    guard = AddressGuard(Networks([ip_network("127.0.0.0/8"), ip_network("fd00::/8"), ip_network("::1/128")]))
    for address in ("127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd12::1", "::1", "8.8.8.8"):
        assert guard.is_allowed(address), address
    for address in (
        "10.0.0.1",
        "169.254.169.254",
        "::ffff:10.0.0.1",
        "2002:7f00:1::1",
        "fc00::1",
        "::",
        "fd12::1%eth0",
    ):
        assert not guard.is_allowed(address), address


def test_an_allowed_tunnel_does_not_allow_the_addresses_behind_it() -> None:
    guard = AddressGuard(Networks([ip_network(text) for text in ("2002::/16", "2001::/32", "64:ff9b:1::/48", "::/96")]))
    for address in ("2002:808:808::1", "64:ff9b:1::8.8.8.8", "2001:0:808:808::f7f7:f7f7", "::8.8.8.8"):
        assert guard.is_allowed(address), address
    for address in (
        "2002:a00:1::1",
        "64:ff9b:1::a00:1",
        "2001:0:a00:1::f7f7:f7f7",
        "2001:0:808:808::f5ff:fffe",
        "::10.0.0.1",
    ):
        assert not guard.is_allowed(address), address
    assert not AddressGuard(Networks([ip_network("::/0")])).is_allowed("::ffff:10.0.0.1")


@pytest.mark.parametrize(
    ("url", "authority", "target", "port"),
    [
        ("https://example.com", b"example.com", b"/", 443),
        ("HTTPS://Example.COM:443/Hooks?a=1&b=%20", b"example.com", b"/Hooks?a=1&b=%20", 443),
        ("http://example.com:8080?x", b"example.com:8080", b"/?x", 8080),
        ("https://example.com:/x", b"example.com", b"/x", 443),
        ("http://[2606:4700::1111]:", b"[2606:4700::1111]", b"/", 80),
        ("http://example.com.:443/", b"example.com:443", b"/", 443),
        (
            "https://sub_domain.xn--bcher-kva.example/ü?q=ß",
            b"sub_domain.xn--bcher-kva.example",
            b"/%C3%BC?q=%C3%9F",
            443,
        ),
        ("https://Bücher.example/", b"xn--bcher-kva.example", b"/", 443),
        ("https://faß.de/", b"xn--fa-hia.de", b"/", 443),
        ("https://8.8.8.8/", b"8.8.8.8", b"/", 443),
        ("https://134744072/", b"8.8.8.8", b"/", 443),
        ("https://0x8.8.2056/", b"8.8.8.8", b"/", 443),
        ("https://８。８。８。８/", b"8.8.8.8", b"/", 443),
        ("https://[2606:4700:4700:0::1111]:8443/a:b@c", b"[2606:4700:4700::1111]:8443", b"/a:b@c", 8443),
        ('https://example.com/<a>"{b}"|^`', b"example.com", b"/%3Ca%3E%22%7Bb%7D%22%7C%5E%60", 443),
        ("https://example.com/a/../b//c;d", b"example.com", b"/a/../b//c;d", 443),
    ],
)
def test_urls_are_parsed_as_they_are_sent(url: str, authority: bytes, target: bytes, port: int) -> None:
    parsed = AddressGuard().check_url(url)
    assert (parsed.authority, parsed.target, parsed.port) == (authority, target, port)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("", "must begin with"),
        ("example.com/hook", "must begin with"),
        ("//example.com/hook", "must begin with"),
        ("https:/example.com", "must begin with"),
        ("https:example.com", "must begin with"),
        ("ftp://example.com", "must begin with"),
        ("file:///etc/passwd", "must begin with"),
        ("gopher://example.com:70/_x", "must begin with"),
        ("javascript://example.com/%0aalert(1)", "must begin with"),
        ("https://", "no valid host"),
        ("https:///path", "no valid host"),
        ("https://:443/", "no valid host"),
        ("https://?x", "no valid host"),
        ("https://user@example.com/", "user name or a password"),
        ("https://user:pass@example.com/", "user name or a password"),
        ("https://example.com@127.0.0.1/", "user name or a password"),
        ("https://127.0.0.1:80@example.com/", "user name or a password"),
        ("https://example.com\\@127.0.0.1/", "backslash"),
        ("https://example.com/a b", "space"),
        ("https://example.com/\r\nHost: evil", "control character"),
        ("https://exa\tmple.com/", "control character"),
        ("https://example.com/\x00", "control character"),
        ("https://example.com/\u200b", "control character"),
        ("https://example.com/\ud800", "control character"),
        (" https://example.com/", "space"),
        ("https://example.com/#top", "fragment"),
        ("https://example.com:0/", "1 to 65535"),
        ("https://example.com:65536/", "1 to 65535"),
        ("https://example.com:+80/", "1 to 65535"),
        ("https://example.com:８０/", "1 to 65535"),
        ("https://example.com:80:80/", "1 to 65535"),
        ("https://exa%6Dple.com/", "not a valid name"),
        ("https://127.0.0.1%2f.example.com/", "not a valid name"),
        ("https://a..b/", "not a valid name"),
        ("https://./", "not a valid name"),
        ("https://-a.com/", "not a valid name"),
        ("https://a,b.com/", "not a valid name"),
        ("https://" + "a" * 64 + ".com/", "not a valid name"),
        ("https://" + "a." * 127 + "com/", "not a valid name"),
        ("https://\N{SNOWMAN}\N{COMBINING ACUTE ACCENT}.com/", "internationalised"),
        ("https://" + "ü" * 70 + ".com/", "internationalised"),
        ("https://[::1", "no valid host"),
        ("https://[::1]x/", "no valid host"),
        ("https://::1/", "no valid host"),
        ("https://[fe80::1%25eth0]/", "IPv6"),
        ("https://[127.0.0.1]/", "IPv6"),
        ("https://[v1.x]/", "IPv6"),
        ("https://[]/", "IPv6"),
        ("https://256.0.0.1/", "IPv4"),
        ("https://1.2.3.4.5/", "IPv4"),
        ("https://4294967296/", "IPv4"),
        ("https://08.8.8.8/", "IPv4"),
        ("https://1_0.0.0.1/", "IPv4"),
        ("https://a.1/", "IPv4"),
        ("https://example.com/" + "a" * 2048, "longer than 2048"),
    ],
)
def test_malformed_and_ambiguous_urls_are_refused_with_the_remedy(url: str, remedy: str) -> None:
    with pytest.raises(InvalidURL, match=remedy):
        AddressGuard(Networks([ip_network("0.0.0.0/0"), ip_network("::/0")])).check_url(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7F.1",
        "0177.0.0.1",
        "017700000001",
        "0x7f.0.0.0x1",
        "127.0.0.0x1",
        "0",
        "0x",
        "１２７.0.0.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "169.254.169.254",
        "0xa9fea9fe",
        "10.0.0.1:8080",
        "[::1]",
        "[::]:80",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[fe80::1]",
        "[0:0:0:0:0:0:0:1]",
    ],
)
def test_forbidden_addresses_in_urls_are_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(ForbiddenAddress) as caught:
        AddressGuard().check_url(f"http://{host}/")
    # The message does not repeat the address in another spelling. It is the same for all.
    assert str(caught.value) == ForbiddenAddress.message


def test_an_allowed_address_is_accepted_in_every_spelling_and_normalised() -> None:
    guard = AddressGuard(Networks([ip_network("127.0.0.0/8")]))
    for host in ("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "１２７.0.0.1"):
        assert guard.check_url(f"http://{host}:81/").authority == b"127.0.0.1:81"


def test_plain_http_can_be_refused() -> None:
    with pytest.raises(InvalidURL, match="must begin with `https://`"):
        AddressGuard(allow_http=False).check_url("http://example.com/")
    assert AddressGuard(allow_http=False).check_url("https://example.com/").scheme == "https"


@settings(max_examples=300)
@given(st.text(max_size=60) | st.builds("https://{}".format, st.text(max_size=40)))
def test_any_text_is_parsed_or_refused_as_a_url(url: str) -> None:
    try:
        parsed = parse_url(url)
    except InvalidURL:
        return
    assert parsed.host.isascii()
    assert b" " not in parsed.target
    assert parsed.target.isascii()


async def test_only_allowed_addresses_of_a_host_are_returned_in_the_order_of_the_resolver() -> None:
    answer = ["10.0.0.1", "2606:4700::2", "8.8.8.8", "::1", "8.8.8.8", "fe80::1%eth0", "1.1.1.1"]
    guard = AddressGuard(resolve=resolver(answer))
    assert await guard.addresses("example.com", 443) == ["2606:4700::2", "8.8.8.8", "1.1.1.1"]


async def test_a_host_with_forbidden_addresses_only_is_refused() -> None:
    guard = AddressGuard(resolve=resolver(["10.0.0.1", "::1", "64:ff9b::a00:1"]))
    with pytest.raises(ForbiddenAddress):
        await guard.addresses("internal.example.com", 443)


async def test_a_host_that_resolves_differently_the_second_time_is_checked_again() -> None:
    guard = AddressGuard(resolve=resolver(["8.8.8.8"], ["127.0.0.1"]))
    assert await guard.addresses("rebind.example.com", 443) == ["8.8.8.8"]
    with pytest.raises(ForbiddenAddress):
        await guard.addresses("rebind.example.com", 443)


async def test_ip_addresses_are_checked_without_being_resolved() -> None:
    guard = AddressGuard(resolve=resolver(["8.8.8.8"]))
    assert await guard.addresses("1.1.1.1", 443) == ["1.1.1.1"]
    with pytest.raises(ForbiddenAddress):
        await guard.addresses("127.0.0.1", 443)


async def test_a_name_is_not_looked_up_until_it_is_called() -> None:
    async def never(host: str, port: int) -> list[str]:
        raise AssertionError("The answer would tell whether the name exists.")

    assert AddressGuard(resolve=never).check_url("https://internal.example.com/").host == "internal.example.com"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost"])
def test_localhost_is_refused_unless_loopback_is_allowed(host: str) -> None:
    with pytest.raises(ForbiddenAddress):
        AddressGuard().check_url(f"http://{host}:8000/")
    opened = AddressGuard(Networks([ip_network("::1/128")]))
    assert opened.check_url(f"http://{host}:8000/").port == 8000


def test_denied_networks_come_before_allowed_ones() -> None:
    networks = Networks([ip_network("10.0.0.0/8")], [ip_network("10.1.0.0/16"), ip_network("8.8.8.0/24")])
    for address in ("10.1.0.1", "::ffff:10.1.0.1", "8.8.8.8", "64:ff9b::808:808"):
        assert not networks.allow(address), address
    for address in ("10.2.0.1", "8.8.4.4"):
        assert networks.allow(address), address


# The example addresses of RFC 6052, section 2.4, which contain 192.0.2.33.
@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ],
)
def test_an_address_below_the_nat64_of_the_operator_counts_as_the_one_in_it(prefix: str, address: str) -> None:
    nat64 = [IPv6Network(prefix)]
    assert not Networks(nat64=nat64).allow(address)
    assert Networks([ip_network("192.0.2.33/32")], nat64=nat64).allow(address)
    assert not Networks([ip_network("192.0.2.33/32")], [ip_network(prefix)], nat64).allow(address)


def test_a_public_address_below_the_nat64_of_the_operator_is_public() -> None:
    networks = Networks(nat64=[IPv6Network("2a00:1::/96")])
    assert networks.allow("2a00:1::8.8.8.8")
    assert not networks.allow("2a00:1::10.0.0.1")
    assert Networks().allow("2a00:1::10.0.0.1")


def test_ports_can_be_limited() -> None:
    guard = AddressGuard(ports=(443, 8443))
    assert guard.check_url("https://example.com/").port == 443
    assert guard.check_url("http://example.com:8443/").port == 8443
    for url in ("http://example.com/", "https://example.com:22/"):
        with pytest.raises(InvalidURL, match="must be one of 443, 8443"):
            guard.check_url(url)


async def test_the_resolver_of_the_system_is_used_by_default() -> None:
    with pytest.raises(ForbiddenAddress):
        await AddressGuard().addresses("localhost", 80)
    opened = AddressGuard(Networks([ip_network("127.0.0.0/8"), ip_network("::1/128")]))
    assert set(await opened.addresses("localhost", 80)) <= {"127.0.0.1", "::1"}


def test_each_nat64_of_the_operator_counts() -> None:
    nat64 = [IPv6Network("2001:db8:100::/96"), IPv6Network("2001:db8:200::/96")]
    assert not Networks(nat64=nat64).allow("2001:db8:200::7f00:1")
    assert Networks([ip_network("127.0.0.1/32")], nat64=nat64).allow("2001:db8:200::7f00:1")


def test_a_url_that_later_versions_refuse_is_an_origin_of_its_own() -> None:
    old, new = "http://[nonsense", EndpointChanges(url="https://example.com/")
    assert moves(old, new)
    assert not moves(old, EndpointChanges(url=old))
    assert (shown_origin(old), shown_origin("https://example.com/a?b")) == ("", "https://example.com:443")
