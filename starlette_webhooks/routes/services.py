"""What the routes work with, and what each does first: authorise, and read what was sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response

from starlette_webhooks.authentication import Authenticate, Principal, call_authenticate, check_same_origin
from starlette_webhooks.exceptions import Forbidden, InvalidBody, InvalidRequest, RequestError, Unauthorized
from starlette_webhooks.portal.session import read_session
from starlette_webhooks.scope import SERVICES

if TYPE_CHECKING:
    from starlette_webhooks.backends.base import Backend
    from starlette_webhooks.emitter import EmitContext
    from starlette_webhooks.event_types import EventTypes
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.streams import StreamHub

__all__ = [
    "Access",
    "PayloadTooLarge",
    "Query",
    "Services",
    "authorize",
    "find_principal",
    "json_response",
    "read_body",
    "services",
]

Access = Literal["read", "write"]
B = TypeVar("B", bound=BaseModel)

_EARLIEST = datetime(2014, 5, 14, tzinfo=UTC)
_LATEST = datetime(2150, 1, 1, tzinfo=UTC)


class PayloadTooLarge(RequestError):
    """Raised for a body that is too large."""

    message = "The body is too large."
    status_code = 413
    default_code = "payload_too_large"


@dataclass(slots=True)
class Services:
    """What all routes of a `Webhooks` share. `hub` and `keys` are there while it runs."""

    backend: Backend
    settings: WebhooksSettings
    event_types: EventTypes
    authenticate: Authenticate
    context: EmitContext
    keys: Sequence[bytes] = field(default=(), repr=False)
    clock: Callable[[], float] = time.time
    synced: bool = False
    _hub: StreamHub | None = field(default=None, repr=False)

    @property
    def hub(self) -> StreamHub:
        """The streams of this process."""
        assert self._hub is not None
        return self._hub

    def scope_name(self, access: Access) -> str:
        """The name of a scope, as the settings give it."""
        return self.settings.read_scope if access == "read" else self.settings.write_scope


def services(request: Request) -> Services:
    """The services of the `Webhooks` that serves this request."""
    found: Services = request.scope[SERVICES]
    return found


async def find_principal(own: Services, connection: HTTPConnection) -> Principal | None:
    """Who calls: as the host says, else by the session of our own portal."""
    principal = await call_authenticate(own.authenticate, connection)
    return principal or read_session(own.keys, connection, now=own.clock())


async def authorize(request: Request, access: Access) -> Principal:
    """The principal of a request that may do this.

    Raises:
        Unauthorized: Nobody we know.
        Forbidden: The scope is missing, or the call comes from another site.
    """
    principal = await find_principal(services(request), request)
    if principal is None:
        raise Unauthorized
    check_same_origin(request)
    scope = services(request).scope_name(access)
    if scope not in principal.scopes:
        raise Forbidden(f"This takes the scope `{scope}`. Use a key that has it.", code="missing_scope")
    return principal


def json_response(content: Any, status_code: int = 200) -> Response:
    """A JSON answer; bytes are JSON already."""
    if not isinstance(content, bytes):
        content = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, status_code, {"Cache-Control": "no-store"}, "application/json")


async def read_body(request: Request, model: type[B]) -> B:
    """The body, checked. No body is an empty object.

    Raises:
        PayloadTooLarge: Over the size of the largest event and 64 KiB.
        InvalidRequest: It is not JSON.
        InvalidBody: It is not an object of this form.
    """
    raw = await _read(request, services(request).settings.max_event_bytes + 65_536)
    try:
        value = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest(f"The body is not JSON: {exc}. Send a JSON object in UTF-8.", code="invalid_json") from exc
    if not isinstance(value, dict):
        raise InvalidBody("The body must be a JSON object, such as `{}`.")
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        raise InvalidBody(_describe(exc, model)) from exc


async def _read(request: Request, most: int) -> bytes:
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise PayloadTooLarge(f"The body has more than {most} bytes. Send less.")
            chunks.append(chunk)
    except ClientDisconnect as exc:
        raise InvalidRequest("The body ended early.") from exc
    return b"".join(chunks)


def _describe(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(f"`{field.alias or name}`" for name, field in model.model_fields.items())
        return f"`{where}` is not a field here. Known are {known or 'none'}."
    message = first["msg"].removeprefix("Value error, ")
    return f"`{where}`: {message}." if where else f"{message}."


class Query:
    """The query string, read strictly: what is not asked for by name is refused, so that no filter is ignored.

    Raises:
        InvalidRequest: By `done` for unknown parameters, and by each of the others for values that are off.
    """

    def __init__(self, request: Request) -> None:
        self._params = request.query_params
        self._event_types = services(request).event_types
        self._known: set[str] = set()

    def done(self) -> None:
        """Check that no other parameter was given."""
        unknown = sorted(set(self._params) - self._known)
        if unknown:
            known = ", ".join(f"`{name}`" for name in sorted(self._known)) or "none"
            raise InvalidRequest(
                f"There is no parameter `{unknown[0]}` here. Known are {known}.", code="unknown_parameter"
            )

    def text(self, name: str) -> str | None:
        """A parameter that may be given once."""
        self._known.add(name)
        values = self._params.getlist(name)
        if len(values) > 1:
            raise InvalidRequest(f"`{name}` may be given once only.")
        return values[0] if values else None

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number."""
        text = self.text(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
            raise InvalidRequest(f"`{name}` must be a whole number from {low} to {high}.")
        return int(text)

    def flag(self, name: str) -> bool:
        """`true` or `false`."""
        text = self.text(name) or "false"
        if text not in ("true", "false"):
            raise InvalidRequest(f"`{name}` must be `true` or `false`.")
        return text == "true"

    def choice(self, name: str, values: Mapping[str, str]) -> str | None:
        """One of some words."""
        text = self.text(name)
        if text is not None and text not in values:
            raise InvalidRequest(f"`{name}` must be one of {', '.join(f'`{value}`' for value in values)}.")
        return text

    def moment(self, name: str) -> datetime | None:
        """A time with its offset from UTC (RFC 3339)."""
        text = self.text(name)
        return None if text is None else parse_moment(name, text)

    def cursor(self, check: Callable[[str], bool]) -> str | None:
        """The `nextCursor` of the page before."""
        text = self.text("cursor")
        if text is not None and not check(text):
            raise InvalidRequest(
                "`cursor` is not one of ours. Send the `nextCursor` of a page, or none.", code="invalid_cursor"
            )
        return text

    def event_types(self) -> tuple[str, ...]:
        """Names of event types: the parameter repeated, or divided by commas; 20 at most."""
        self._known.add("event_type")
        names = tuple(part.strip() for value in self._params.getlist("event_type") for part in value.split(","))
        return tuple(dict.fromkeys(check_event_types(self._event_types, names, InvalidRequest)))

    def channel(self) -> str | None:
        """A channel."""
        text = self.text("channel")
        if text is not None and not 1 <= len(text) <= 128:
            raise InvalidRequest("`channel` must have 1 to 128 characters.")
        return text


def parse_moment(name: str, text: str) -> datetime:
    """A time with its offset from UTC (RFC 3339), between 2014 and 2150."""
    remedy = f"`{name}` must be a time with its offset from UTC, such as `2026-11-23T21:50:00Z`."
    try:
        # A `+` that was not encoded arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        if moment.tzinfo is None or len(text) < 16:
            raise InvalidRequest(remedy, code="invalid_time")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(remedy, code="invalid_time") from None
    if not _EARLIEST <= moment <= _LATEST:
        raise InvalidRequest(f"`{name}` must lie between 2014-05-14 and 2150.", code="invalid_time")
    return moment


def check_event_types(
    catalog: EventTypes, names: tuple[str, ...], error: type[RequestError], most: int = 20
) -> tuple[str, ...]:
    """Names of event types that are registered."""
    if len(names) > most:
        raise error(f"Name {most} event types at most.", code="too_many_event_types")
    for name in names:
        if name not in catalog:
            raise error(describe_unknown(catalog, name), code="unknown_event_type")
    return names


def describe_unknown(catalog: EventTypes, name: str) -> str:
    """What to tell a customer about a name that is not in the catalog."""
    near = catalog.nearest(name)
    hint = f"Did you mean `{near}`?" if near else "`GET /event-types` lists them."
    return f"There is no event type `{name[:256]}`. {hint}"
