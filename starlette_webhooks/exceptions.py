"""The errors of `starlette_webhooks`.

    WebhooksError
    ├── NotRunning            also a RuntimeError
    ├── UnknownEventType      also a ValueError
    ├── InvalidEvent          also a ValueError
    │   └── EventTooLarge
    ├── TenantRequired        also a ValueError
    ├── QueueFull
    ├── BackendError
    │   ├── BackendUnavailable
    │   └── BackendRefused
    └── RequestError          what a customer's HTTP call did wrong; rendered as JSON
        ├── InvalidRequest    400
        ├── Unauthorized      401
        ├── Forbidden         403
        ├── NotFound          404
        ├── Conflict          409
        ├── InvalidBody       422
        └── TooManyRequests   429

The docstring of a class is its default message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

__all__ = [
    "BackendError",
    "Conflict",
    "BackendRefused",
    "BackendUnavailable",
    "EventTooLarge",
    "Forbidden",
    "InvalidBody",
    "InvalidEvent",
    "InvalidRequest",
    "NotFound",
    "NotRunning",
    "QueueFull",
    "RequestError",
    "TenantRequired",
    "TooManyRequests",
    "Unauthorized",
    "UnknownEventType",
    "WebhooksError",
]


class WebhooksError(Exception):
    """Something went wrong in `starlette_webhooks`."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class NotRunning(WebhooksError, RuntimeError):
    """`Webhooks` is not running. Add `WebhooksMiddleware`, or enter `async with webhooks.lifespan():`."""


class UnknownEventType(WebhooksError, ValueError):
    """The event type is not registered. Add `EventType(...)` to `Webhooks(event_types=[...])`."""


class InvalidEvent(WebhooksError, ValueError):
    """The event cannot be emitted as it is."""


class EventTooLarge(InvalidEvent):
    """The payload is larger than `WEBHOOKS_MAX_EVENT_BYTES`."""


class TenantRequired(WebhooksError, ValueError):
    """No tenant is known here. Pass `tenant=`, use `emitter.for_tenant(...)`, or give `Webhooks(tenant=...)`."""


class QueueFull(WebhooksError):
    """Too many events wait for the disk; this one was not taken. Try again, or raise `WEBHOOKS_QUEUE_EVENTS`."""


class BackendError(WebhooksError):
    """The engine did not accept the event."""


class BackendUnavailable(BackendError):
    """The engine cannot be reached or cannot write at the moment. Try again later."""


class BackendRefused(BackendError):
    """The engine refused the call for good. `code` and `detail` are the engine's own words."""

    def __init__(self, message: str | None = None, *, code: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.detail = detail


class RequestError(WebhooksError):
    """The request cannot be served."""

    status_code: ClassVar[int] = 400
    default_code: ClassVar[str] = "invalid_request"

    def __init__(
        self, detail: str | None = None, *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code or self.default_code
        self.detail = str(self)
        self.headers = dict(headers or {})


class InvalidRequest(RequestError):
    """The query or the path is malformed."""


class Unauthorized(RequestError):
    """Send `Authorization: Bearer <key>`, or sign in."""

    status_code = 401
    default_code = "unauthorized"

    def __init__(self, detail: str | None = None, *, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(RequestError):
    """This is not allowed."""

    status_code = 403
    default_code = "forbidden"


class NotFound(RequestError):
    """There is no such object."""

    status_code = 404
    default_code = "not_found"


class Conflict(RequestError):
    """The object is in another state than this call needs."""

    status_code = 409
    default_code = "conflict"


class InvalidBody(RequestError):
    """The body is not what this route takes."""

    status_code = 422
    default_code = "invalid_body"


class TooManyRequests(RequestError):
    """Too many at once. Try again after `Retry-After` seconds."""

    status_code = 429
    default_code = "too_many_requests"

    def __init__(self, detail: str | None = None, *, code: str | None = None, retry_after: int = 5) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after)})
