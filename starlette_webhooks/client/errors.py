"""The errors of the client.

WebhooksError
└── ClientError
    ├── APIError          the server refused the call
    │   ├── KeyRefused    401
    │   └── NotFound      404
    ├── ConnectionFailed  the server cannot be reached
    └── Gap               a stream has missed events
"""

from __future__ import annotations

from starlette_webhooks.exceptions import WebhooksError

__all__ = ["APIError", "ClientError", "ConnectionFailed", "Gap", "KeyRefused", "NotFound"]


class ClientError(WebhooksError):
    """The base of all errors of the client."""

    message = "The call failed."


class APIError(ClientError):
    """Raised when the server answers with an error.

    Attributes:
        status_code: The HTTP status.
        code: The kind of error, such as `invalid_cursor`. Empty if the answer is not from the API.
        detail: What to do about it.
        retry_after: After how many seconds the server wants to be called again. 0 if it does not say.
    """

    message = "The server refused the call."

    def __init__(
        self,
        message: str | None = None,
        *,
        status_code: int = 0,
        code: str = "",
        detail: str = "",
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.code = code
        self.detail = detail
        self.retry_after = retry_after


class KeyRefused(APIError):
    """Raised when the server does not accept the key. A key function was called again before."""

    message = "The server does not accept the key."


class NotFound(APIError):
    """Raised when there is no such object, or nothing at the URL of the client."""

    message = "There is no such object."


class ConnectionFailed(ClientError):
    """Raised when the server cannot be reached. Streams try again instead."""

    message = "The server cannot be reached."


class Gap(ClientError):
    """Raised by a stream that cannot resume without missing events. Iterate it again to continue after the gap.

    Attributes:
        requested: The id to resume after. Events that came after it are no longer stored.
        oldest: The id of the oldest stored event, or None if there is none.
    """

    message = "Events between the last one and the oldest stored one are missing."

    def __init__(self, message: str | None = None, *, requested: str = "", oldest: str | None = None) -> None:
        super().__init__(message)
        self.requested = requested
        self.oldest = oldest
