"""`ProxyURL`, the parsed value of `WEBHOOKS_PROXY`."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

__all__ = ["ProxyURL", "parse_proxy"]

_PORTS = {"http": 3128, "https": 443}
_REMEDY = "Give a URL such as `http://user:password@proxy.example.com:3128`."


@dataclass(frozen=True, slots=True)
class ProxyURL:
    """A proxy that opens tunnels with `CONNECT`.

    Attributes:
        tls: Whether the connection to the proxy itself uses TLS.
        authorization: The value of `Proxy-Authorization`. Empty if the proxy needs none.
    """

    host: str
    port: int
    tls: bool
    authorization: str = field(repr=False)


def parse_proxy(text: str) -> ProxyURL:
    """Parse the URL of a proxy, `http:` or `https:`, with or without a user and a password.

    Raises:
        ValueError: The URL is not valid. The message does not repeat it.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_REMEDY) from None
    if parts.scheme not in _PORTS or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(_REMEDY)
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return ProxyURL(host, port or _PORTS[parts.scheme], parts.scheme == "https", authorization)
