"""The only module that uses private names of the `svix` SDK. `tests/backends/svix/test_sdk.py` detects changes.

`SvixAsync` creates its own httpx client with default limits, and offers no way to close or replace it. It also does not
expose the headers of responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx
    from svix.api import SvixAsync

__all__ = ["base_url", "make_sdk"]


def make_sdk(
    token: str, http: httpx.AsyncClient, *, server_url: str | None, retries: Sequence[float], timeout: float
) -> SvixAsync:
    """Return a `SvixAsync` that uses this httpx client. The import takes half a second, so call this on a thread.

    Args:
        retries: Seconds before each retry.
    """
    from svix.api.svix import ClientBase, SvixAsync, SvixOptions

    sdk = SvixAsync.__new__(SvixAsync)
    options = SvixOptions(server_url=server_url, retry_schedule=list(retries), timeout=timeout)
    ClientBase.__init__(sdk, token, options)
    sdk._httpx_client = http
    return sdk


def base_url(sdk: SvixAsync) -> str:
    """Return the URL of the server that it calls, which may depend on the region in the token."""
    client: Any = sdk._client
    return str(client.base_url)
