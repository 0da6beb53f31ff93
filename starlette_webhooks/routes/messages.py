"""Reads JSON bodies within limits, and encodes JSON responses safely."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from starlette_webhooks.bodies import Body, check_body
from starlette_webhooks.concurrency import task_group
from starlette_webhooks.exceptions import InvalidBody, InvalidRequest, RequestError

__all__ = ["BodyTimeout", "PayloadTooLarge", "encode_json", "json_response", "read_body", "while_connected"]

B = TypeVar("B", bound=Body)
T = TypeVar("T")

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class BodyTimeout(RequestError):
    """Raised for a body that does not arrive in time."""

    message = "The body did not arrive in time. Send the call again."
    status_code = 408
    default_code = "body_timeout"

    def __init__(self) -> None:
        # The rest of the body must not be read as the next request (RFC 9110, section 15.5.9).
        super().__init__(headers={"Connection": "close"})


class PayloadTooLarge(RequestError):
    """Raised for a body that is too large."""

    message = "The body is too large."
    status_code = 413
    default_code = "payload_too_large"


def json_response(content: Any, status_code: int = 200) -> Response:
    """Return a JSON response. Bytes are sent as they are."""
    if not isinstance(content, bytes):
        content = encode_json(content)
    return Response(content, status_code, _HEADERS, "application/json")


def encode_json(content: Any) -> bytes:
    """Return JSON as responses contain it."""
    # Error messages quote input, which may contain half of a surrogate pair.
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


async def read_body(request: Request, model: type[B], *, timeout: float, charge: Callable[[int], None]) -> B:
    """Read and validate the body of a request. No body counts as an empty object.

    Args:
        timeout: Seconds.
        charge: Is called with the size, before the body is parsed. May raise an error.

    Raises:
        BodyTimeout: The body did not arrive in time.
        PayloadTooLarge: The body exceeds the limit of all bodies.
        InvalidRequest: The body is not JSON.
        InvalidBody: The body does not match the model, or exceeds its limit.
    """
    try:
        with anyio.fail_after(timeout):
            raw = await _read(request, Body.max_bytes)
    except TimeoutError:
        raise BodyTimeout from None
    if len(raw) > model.max_bytes:
        raise InvalidBody(f"The body has more than {model.max_bytes} bytes. Send less.")
    charge(len(raw))
    value = _parse(raw)
    if not isinstance(value, dict):
        raise InvalidBody("The body must be a JSON object, such as `{}`.")
    return check_body(model, value)


def _parse(raw: bytes) -> Any:
    try:
        text = raw.decode()
        value = json.loads(text) if text.strip() else {}
        if "\\ud" in text.lower():
            # UTF-8 cannot encode half of a surrogate pair, so it could neither be stored nor returned.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidBody(
            "The body contains half of a surrogate pair, such as `\\ud800`. Send whole characters."
        ) from None
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest(f"The body is not JSON: {exc}. Send a JSON object in UTF-8.", code="invalid_json") from exc
    return value


async def _read(request: Request, most: int) -> bytes:
    chunks, size = [], 0
    try:
        async with aclosing(request.stream()) as stream:
            async for chunk in stream:
                size += len(chunk)
                if size > most:
                    raise PayloadTooLarge(f"The body has more than {most} bytes. Send less.")
                chunks.append(chunk)
    except ClientDisconnect as exc:
        raise InvalidRequest("The body is incomplete.") from exc
    return b"".join(chunks)


async def while_connected(request: Request, function: Callable[[], Awaitable[T]]) -> T:
    """Call a function that may take long, and cancel it if the client goes away. The body must have been read.

    Raises:
        InvalidRequest: The client has gone away.
    """
    results: list[T] = []

    async def watch(scope: anyio.CancelScope) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async with task_group() as tasks:
        tasks.start_soon(watch, tasks.cancel_scope)
        results.append(await function())
        tasks.cancel_scope.cancel()
    if not results:
        raise InvalidRequest("The client has gone away.")
    return results[0]
