"""What the answers of a server mean, and which calls may be made again. Without input or output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import httpx

from starlette_webhooks.client.backoff import retry_after
from starlette_webhooks.client.calls import Call
from starlette_webhooks.client.errors import APIError, ClientError, ConnectionFailed, KeyRefused, NotFound

__all__ = ["check_stream", "error_of", "is_temporary", "may_repeat", "read_answer", "unreachable"]

T = TypeVar("T")

_TOO_MANY = 429
_TEMPORARY = frozenset({408, 425, _TOO_MANY})
_MOVED = "Set the URL of the client to where the API is."
_REMEDIES = {301: _MOVED, 302: _MOVED, 303: _MOVED, 307: _MOVED, 308: _MOVED}
_NOT_THE_API = "Check that the URL of the client is that of the API, such as `https://example.com/api/v1/webhooks`."
_CLASSES: Mapping[int, type[APIError]] = {401: KeyRefused, 404: NotFound}


def error_of(response: httpx.Response) -> APIError:
    """Return the error for an answer that has been read."""
    status = response.status_code
    try:
        body = response.json()
    except ValueError:
        body = None
    found = body if isinstance(body, dict) else {}
    code, detail = str(found.get("code", "")), str(found.get("detail", ""))
    # An error of the API says what to do. One of a proxy, or of another app, does not.
    remedy = detail if code else _REMEDIES.get(status, "") if status >= 500 else _REMEDIES.get(status, _NOT_THE_API)
    message = f"The server answered {status}{f' ({code})' if code else ''}.{f' {remedy}' if remedy else ''}"
    return _CLASSES.get(status, APIError)(
        message,
        status_code=status,
        code=code,
        detail=detail,
        retry_after=retry_after(response.headers.get("retry-after")),
    )


def read_answer(call: Call[T], response: httpx.Response) -> T:
    """Return the result of a call.

    Raises:
        APIError: The server refused the call, or is not the API.
    """
    if not response.is_success:
        raise error_of(response)
    try:
        value: Any = response.json() if response.content else None
        return call.parse(value)
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise _foreign(response) from exc


def check_stream(response: httpx.Response) -> None:
    """Raise `APIError` unless a successful answer is a stream."""
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/event-stream":
        raise _foreign(response)


def _foreign(response: httpx.Response) -> APIError:
    status = response.status_code
    return APIError(f"The answer {status} did not come from the API. {_NOT_THE_API}", status_code=status)


def unreachable(error: httpx.RequestError) -> ClientError:
    """Return the error for a request that has no answer, or one that cannot be read."""
    text = str(error) or type(error).__name__
    if isinstance(error, (httpx.LocalProtocolError, httpx.UnsupportedProtocol)):
        # The request itself is wrong, for example because of a line end in the key.
        return ClientError(f"The request cannot be sent: {text}")
    if isinstance(error, httpx.TooManyRedirects):
        return ClientError(f"{text} {_MOVED}")
    if isinstance(error, httpx.DecodingError):
        return ConnectionFailed(f"The answer of the server cannot be decoded: {text}")
    return ConnectionFailed(f"The server cannot be reached: {text}")


def is_temporary(error: ClientError) -> bool:
    """Return whether the same call may succeed later."""
    if isinstance(error, APIError):
        return error.status_code in _TEMPORARY or error.status_code >= 500
    return isinstance(error, ConnectionFailed)


def may_repeat(call: Call[Any], error: ClientError) -> bool:
    """Return whether to make a call again. One that changes something may have succeeded, unless the answer is 429."""
    if call.method == "GET":
        return is_temporary(error)
    return isinstance(error, APIError) and error.status_code == _TOO_MANY
