"""Connections through a proxy, by `CONNECT` (RFC 9110, section 9.3.6).

The proxy resolves names and connects, so its rules decide which addresses are reached.
"""

from __future__ import annotations

import re
import ssl

from anyio import BrokenResourceError, EndOfStream, aclose_forcefully, connect_tcp, fail_after
from anyio.abc import ByteStream

from starlette_webhooks.delivery.addresses import ParsedURL
from starlette_webhooks.delivery.failures import DeliveryFailed, OutOfResources, own_fault
from starlette_webhooks.proxy_url import ProxyURL

__all__ = ["open_tunnel"]

_MAX_HEAD = 16_384
_CONNECT_SECONDS = 5.0
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


async def open_tunnel(proxy: ProxyURL, target: ParsedURL, ssl_context: ssl.SSLContext | None) -> ByteStream:
    """Connect to a receiver through a proxy.

    Args:
        ssl_context: Verifies a proxy that uses TLS.

    Raises:
        DeliveryFailed: The proxy cannot or may not connect to the receiver.
        OutOfResources: The proxy is unavailable, which is not the receiver's fault.
    """
    stream = await _connect(proxy, ssl_context)
    try:
        await stream.send(_request(proxy, target))
        status = await _read_status(stream)
    except (BrokenResourceError, EndOfStream, ssl.SSLError):
        await aclose_forcefully(stream)
        raise DeliveryFailed("connection failed") from None
    except BaseException:
        await aclose_forcefully(stream)
        raise
    if 200 <= status < 300:
        return stream
    await aclose_forcefully(stream)
    if status == 407:
        raise OutOfResources("The proxy of `WEBHOOKS_PROXY` does not accept its user name and password.")
    # One reason for every other status: a proxy tells a name that it denies from one that does not exist.
    raise DeliveryFailed("connection failed")


async def _connect(proxy: ProxyURL, ssl_context: ssl.SSLContext | None) -> ByteStream:
    try:
        with fail_after(_CONNECT_SECONDS):
            if not proxy.tls:
                return await connect_tcp(proxy.host, proxy.port)
            return await connect_tcp(
                proxy.host, proxy.port, ssl_context=ssl_context, tls_hostname=proxy.host, tls_standard_compatible=False
            )
    except (OSError, BrokenResourceError, EndOfStream) as exc:
        raise own_fault(exc) or OutOfResources(f"The proxy of `WEBHOOKS_PROXY` cannot be reached: {exc}.") from exc


def _request(proxy: ProxyURL, target: ParsedURL) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [f"CONNECT {host}:{target.port} HTTP/1.1", f"host: {host}:{target.port}"]
    if proxy.authorization:
        lines.append(f"proxy-authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


async def _read_status(stream: ByteStream) -> int:
    head = bytearray()
    while b"\r\n\r\n" not in head:
        if len(head) > _MAX_HEAD:
            raise DeliveryFailed("connection failed")
        head += await stream.receive(_MAX_HEAD)
    found = _STATUS.match(head)
    status = 0 if found is None else int(found[1])
    # A receiver sends nothing unasked. Bytes after a 2xx head would be read as its response.
    if status < 300 and head.partition(b"\r\n\r\n")[2]:
        raise DeliveryFailed("connection failed")
    return status
