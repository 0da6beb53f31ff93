"""Calls of servers on this machine by HTTPX, without the certificate authorities that each new client would load.

That takes 50 ms of a processor, and many tests call a server until it is in some state.
"""

from __future__ import annotations

from functools import partial

import httpx

__all__ = ["Client", "get", "head", "post", "stream"]

Client = partial(httpx.Client, verify=False)
get = partial(httpx.get, verify=False)
head = partial(httpx.head, verify=False)
post = partial(httpx.post, verify=False)
stream = partial(httpx.stream, verify=False)
