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
    └── RequestError          errors in a customer's HTTP call, sent as JSON
        ├── InvalidRequest    400
        ├── Unauthorized      401
        ├── Forbidden         403
        ├── NotFound          404
        ├── Conflict          409
        ├── InvalidBody       422
        ├── TooManyRequests   429
        └── NotSupported      501

Each class has its default message in `message`, not in the docstring, because `python -OO` strips docstrings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

__all__ = [
    "BackendError",
    "BackendRefused",
    "BackendUnavailable",
    "Conflict",
    "EventTooLarge",
    "Forbidden",
    "InvalidBody",
    "InvalidEvent",
    "InvalidRequest",
    "NotFound",
    "NotRunning",
    "NotSupported",
    "QueueFull",
    "RequestError",
    "TenantRequired",
    "TooManyRequests",
    "Unauthorized",
    "UnknownEventType",
    "WebhooksError",
    "excerpt",
]


class WebhooksError(Exception):
    """The base of all errors of this package.

    Attributes:
        message: The default message of the error.
    """

    message: ClassVar[str] = "An error in `starlette_webhooks` occurred."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(self.message if message is None else message)


class NotRunning(WebhooksError, RuntimeError):
    """Raised outside the lifespan of `Webhooks`."""

    message = "`Webhooks` is not running. Add `WebhooksMiddleware`, or enter `async with webhooks.lifespan():`."


class UnknownEventType(WebhooksError, ValueError):
    """Raised for an event type that is not in the catalog."""

    message = "The event type is not registered. Add `EventType(...)` to `Webhooks(event_types=[...])`."


class InvalidEvent(WebhooksError, ValueError):
    """Raised for an event that cannot be emitted as it is."""

    message = "The event cannot be emitted as it is."


class EventTooLarge(InvalidEvent):
    """Raised for a payload that is larger than the setting `max_event_bytes`."""

    message = "The payload is larger than `WEBHOOKS_MAX_EVENT_BYTES`."


class TenantRequired(WebhooksError, ValueError):
    """Raised if an event has no tenant, or if the tenant is not valid."""

    message = "No tenant for this event. Pass `tenant=`, use `emitter.for_tenant(...)`, or set `Webhooks(tenant=...)`."


class QueueFull(WebhooksError):
    """Raised when too many events wait for their commit. This one was not accepted."""

    message = "Too many events wait for their commit. Try again, or increase `WEBHOOKS_QUEUE_EVENTS`."


class BackendError(WebhooksError):
    """Raised when the backend did not accept an event."""

    message = "The backend did not accept the event."


class BackendUnavailable(BackendError):
    """Raised when the backend cannot be reached or cannot write."""

    message = "The backend cannot be reached or cannot write. Try again later."


class BackendRefused(BackendError):
    """Raised when the backend refused a call permanently.

    Attributes:
        code: The backend's own code.
        detail: The backend's own message.
    """

    message = "The backend refused the call."

    def __init__(self, message: str | None = None, *, code: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.detail = detail


class RequestError(WebhooksError):
    """The base of errors in a customer's HTTP call, which is answered with `{"code", "detail"}`.

    Attributes:
        status_code: The HTTP status of the answer.
        default_code: The code of an error that has no other.
        code: The reason, for programs.
        detail: The reason, for people.
        headers: The headers of the answer.
    """

    message = "The request cannot be served."
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
    """Raised for a query or a path that is malformed."""

    message = "The query or the path is malformed."


class Unauthorized(RequestError):
    """Raised for a call without valid credentials."""

    message = "Send `Authorization: Bearer <key>`, or sign in."
    status_code = 401
    default_code = "unauthorized"

    def __init__(self, detail: str | None = None, *, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(RequestError):
    """Raised for a call that is not allowed."""

    message = "The call is not allowed."
    status_code = 403
    default_code = "forbidden"


class NotFound(RequestError):
    """Raised for an object that does not exist, or belongs to another tenant."""

    message = "There is no such object."
    status_code = 404
    default_code = "not_found"


class Conflict(RequestError):
    """Raised for an object whose state does not allow the call."""

    message = "The state of the object does not allow this call."
    status_code = 409
    default_code = "conflict"


class InvalidBody(RequestError):
    """Raised for a body that the route does not accept."""

    message = "The body is not valid for this route."
    status_code = 422
    default_code = "invalid_body"


class TooManyRequests(RequestError):
    """Raised for a call over a limit."""

    message = "Too many calls. Try again after `Retry-After` seconds."
    status_code = 429
    default_code = "too_many_requests"

    def __init__(self, detail: str | None = None, *, code: str | None = None, retry_after: int = 5) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after)})


class NotSupported(RequestError):
    """Raised for a call that the backend cannot serve."""

    message = "The backend does not support this call."
    status_code = 501
    default_code = "not_supported"


def excerpt(text: str, most: int = 200) -> str:
    """Return as much of a caller's text as a message should repeat."""
    return text if len(text) <= most else f"{text[:most]}..."
