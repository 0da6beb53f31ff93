"""Turns the errors of routes into responses with `{"code", "detail"}`, except for unexpected ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from starlette_webhooks.exceptions import BackendRefused, BackendUnavailable, QueueFull, RequestError, WebhooksError
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.routes.messages import json_response

__all__ = ["ERROR_HANDLERS"]

logger = logging.getLogger("starlette_webhooks")

_RETRY_AFTER = "5"
_CODES = {404: "not_found", 405: "method_not_allowed"}


async def _answer_error(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestError):
        return _error(error.status_code, error.code, error.detail, error.headers)
    if isinstance(error, BackendRefused):
        fields = log_fields("call.refused", code=error.code)
        logger.warning("The backend refused a call: %s (%s: %s)", error, error.code, error.detail, extra=fields)
        return _error(422, error.code or "refused", error.detail or "The backend refused the call.")
    if isinstance(error, (BackendUnavailable, QueueFull)):
        # Not a warning: the cause is logged where it occurs, and there may be thousands of callers.
        logger.info("A call could not be served: %s", error, extra=log_fields("call.unavailable"))
        detail = "The service is unavailable. Try again later."
        return _error(503, "unavailable", detail, {"Retry-After": _RETRY_AFTER})
    raise error


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    details = {404: "There is nothing at this path.", 405: f"`{request.method}` is not allowed here. See `Allow`."}
    status = error.status_code
    return _error(status, _CODES.get(status, "error"), details.get(status, error.detail), error.headers or {})


def _error(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    response = json_response({"code": code, "detail": detail}, status)
    response.headers.update(headers or {})
    return response


ERROR_HANDLERS: Mapping[Any, Callable[[Request, Exception], Any]] = {
    WebhooksError: _answer_error,
    HTTPException: _answer_http_error,
}
"""For Starlette's `ExceptionMiddleware`."""
