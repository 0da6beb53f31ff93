"""Translates the errors of the SDK.

The SDK's exceptions have no common base: `HttpError` and `HTTPValidationError` for errors it understands,
`json.JSONDecodeError` for empty and HTML bodies, `AttributeError` for a 422 with a text as detail, `httpx` exceptions
for the network, `pydantic.ValidationError` for responses in another format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette_webhooks.exceptions import BackendError, BackendRefused, BackendUnavailable

__all__ = ["Answer", "Missing", "SvixRefused", "SvixUnavailable", "translate"]

_DETAIL_LENGTH = 1000
# The account, the key, a proxy or the whole server is at fault, so every other call would fail too.
_EVERYWHERE = frozenset({0, 401, 402, 403, 405, 407, 429, 502, 503, 504})
_REFUSED = frozenset({400, 404, 409, 413, 422, 501})


@dataclass(slots=True)
class Answer:
    """The HTTP response to a call. `status` is 0 if there was none."""

    status: int = 0
    retry_after: float | None = None
    body: str = ""


class SvixUnavailable(BackendUnavailable):
    """Svix is unavailable. The call can be made again.

    Attributes:
        everywhere: Whether other calls would fail too.
        unexpected: Whether Svix accepted the call with a response that the SDK cannot parse.
    """

    def __init__(
        self,
        message: str,
        *,
        answer: Answer,
        code: str = "",
        detail: str = "",
        everywhere: bool,
        unexpected: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = answer.status
        self.retry_after = answer.retry_after
        self.code = code
        self.detail = detail
        self.everywhere = everywhere
        self.unexpected = unexpected


class SvixRefused(BackendRefused):
    """Svix refused the call permanently."""

    def __init__(self, message: str, *, status: int, code: str = "", detail: str = "") -> None:
        super().__init__(message, code=code, detail=detail)
        self.status = status

    @property
    def permanent(self) -> bool:
        """Whether the event itself is at fault, so that forwarding it again cannot succeed."""
        return self.status in (0, 400, 413, 422)


class Missing(SvixRefused):
    """Svix has no such object."""


def translate(exc: Exception, answer: Answer, server: str) -> BackendError:
    """Return our exception for an error of the SDK, with Svix's code and detail.

    Args:
        answer: The HTTP response.
        server: The URL of the server, for the message.
    """
    import httpx
    from pydantic import ValidationError
    from pydantic_core import PydanticSerializationError
    from svix.exceptions import HttpError, HTTPValidationError

    if isinstance(exc, BackendError):
        return exc
    if isinstance(exc, TimeoutError | httpx.TimeoutException):
        return _unavailable(f"Svix at {server} did not answer in time", answer, everywhere=False)
    if isinstance(exc, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return _unavailable(f"{server!r} is not the URL of a server: {exc}. Correct `SVIX_SERVER_URL`", answer)
    if isinstance(exc, httpx.RequestError):
        lost = isinstance(exc, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError)
        reason = f"{type(exc).__name__}: {exc}"
        return _unavailable(f"Svix at {server} cannot be reached ({reason})", answer, everywhere=not lost)
    if isinstance(exc, HTTPValidationError):
        return _of_status(answer.status or exc.status_code, "validation", _validation(exc.detail), answer, server)
    if isinstance(exc, HttpError):
        return _of_status(answer.status or exc.status_code, str(exc.code), str(exc.detail), answer, server)
    if isinstance(exc, PydanticSerializationError) or (isinstance(exc, ValidationError) and not answer.status):
        detail = str(exc)[:_DETAIL_LENGTH]
        return SvixRefused(
            f"This cannot be written as JSON for Svix: {detail}", status=0, code="invalid", detail=detail
        )
    if answer.status >= 300:
        return _of_foreign_body(answer, server)
    return _unavailable(
        f"Svix at {server} sent a response that its SDK cannot parse ({type(exc).__name__}). Set `SVIX_SERVER_URL` to "
        "a Svix server of version 1.99 or later",
        answer,
        everywhere=False,
        unexpected=200 <= answer.status < 300,
    )


def _unavailable(
    message: str,
    answer: Answer,
    *,
    code: str = "",
    detail: str = "",
    everywhere: bool = True,
    unexpected: bool = False,
) -> SvixUnavailable:
    return SvixUnavailable(
        message + ".", answer=answer, code=code, detail=detail, everywhere=everywhere, unexpected=unexpected
    )


def _validation(detail: Any) -> str:
    parts = [f"{'.'.join(str(step) for step in item.loc)}: {item.msg}" for item in detail]
    return "; ".join(parts)[:_DETAIL_LENGTH]


def _of_foreign_body(answer: Answer, server: str) -> BackendError:
    # Not Svix's own message: a proxy, a wrong URL, a missing route, or a crash with an empty body.
    status = answer.status
    if status < 400:
        return _unavailable(
            f"{server} redirects ({status}). Set `SVIX_SERVER_URL` to the address it redirects to", answer
        )
    if status == 404:
        return _unknown_route(server)
    if status in (413, 422) and (status == 413 or answer.body.lstrip().startswith("{")):
        return _of_status(status, "", answer.body[:_DETAIL_LENGTH], answer, server)
    return _of_status(status if status not in _REFUSED else 502, "", answer.body[:200], answer, server)


def _unknown_route(server: str) -> SvixRefused:
    return SvixRefused(
        f"{server} does not know this call. Set `SVIX_SERVER_URL` to a Svix server of version 1.99 or later, without "
        "`/api/v1`.",
        status=501,
        code="unknown_route",
        detail="The backend does not offer this.",
    )


def _of_status(status: int, code: str, detail: str, answer: Answer, server: str) -> BackendError:
    words = ": ".join(part for part in (code, detail) if part)
    said = f"{status} {words}".rstrip()
    if status == 404 and code != "not_found":
        return _unknown_route(server)
    if status == 404:
        return Missing(f"Svix has no such object ({said}).", status=404, code=code, detail=detail)
    if status in _REFUSED:
        return SvixRefused(f"Svix refused this ({said}).", status=status, code=code, detail=detail)
    everywhere = status in _EVERYWHERE
    if status in (401, 403):
        message = (
            f"Svix at {server} does not accept the API key ({said}). Set `SVIX_API_KEY` to a key of this server; for a "
            "self-hosted one to the token that `svix-server jwt generate` prints, not to the JWT secret"
        )
    elif status == 429:
        message = f"Svix asks for fewer calls ({said})"
    else:
        message = f"Svix at {server} failed ({said})"
    return _unavailable(message, answer, code=code, detail=detail, everywhere=everywhere)
