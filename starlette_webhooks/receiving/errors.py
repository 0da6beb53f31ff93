"""Why a request is not handled as a webhook, and how to answer it."""

from __future__ import annotations

from typing import ClassVar

from starlette_webhooks.exceptions import WebhooksError

__all__ = ["AlreadyHandled", "BeingHandled", "BodyTooLarge", "WebhookRefused"]


class WebhookRefused(WebhooksError):
    """Raised for a request that is not a genuine webhook.

    Attributes:
        status_code: The HTTP status to answer with.
        headers: The headers to answer with.
    """

    message = "The request is not a genuine webhook."
    status_code: ClassVar[int] = 400

    def __init__(self, message: str | None = None, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = headers or {}


class BodyTooLarge(WebhookRefused):
    """Raised for a body with more bytes than allowed."""

    message = "The body is too large."
    status_code = 413


class BeingHandled(WebhookRefused):
    """Raised for a webhook that another request handles at the moment. The sender is to try again later."""

    message = "The webhook is being handled by another request."
    status_code = 409


class AlreadyHandled(WebhookRefused):
    """Raised for a webhook that has been handled before. The answer is a success, so that the sender stops."""

    message = "The webhook has been handled before."
    status_code = 200
