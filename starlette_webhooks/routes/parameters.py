"""The parameters of the routes: their documentation, and how their values are read. Routes use them by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar, get_args

from starlette.requests import Request

from starlette_webhooks.attempts import AttemptStatus
from starlette_webhooks.event_states import EventState
from starlette_webhooks.exceptions import InvalidRequest, NotFound
from starlette_webhooks.identifiers import is_endpoint_id, is_message_id
from starlette_webhooks.operations import EndpointOrder, is_urgency_cursor
from starlette_webhooks.pagination import LARGEST_PAGE, invalid_cursor
from starlette_webhooks.times import parse_time
from starlette_webhooks.undelivered import UndeliveredState

__all__ = [
    "AFTER",
    "ATTEMPT_CURSOR",
    "BEFORE",
    "CHANNEL",
    "ENDPOINT",
    "ENDPOINT_CURSOR",
    "ENDPOINT_FILTER",
    "ENDPOINT_ID",
    "ENDPOINT_LIST_CURSOR",
    "ENDPOINT_ORDER",
    "EVENT_CURSOR",
    "EVENT_ID",
    "EVENT_STATE",
    "EVENT_TYPES",
    "LAST_EVENT_ID",
    "LAST_EVENT_ID_CAMEL",
    "LAST_EVENT_ID_HEADER",
    "LIMIT",
    "NAV",
    "SINCE",
    "STATE",
    "STATUS",
    "STATUS_CODE_CLASS",
    "THEME",
    "TEXT",
    "TICKET",
    "TOKEN",
    "UNDELIVERED_CURSOR",
    "UNTIL",
    "Parameter",
    "Schema",
    "read_parameters",
]

W = TypeVar("W", bound=str)
T_co = TypeVar("T_co", covariant=True)
Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_FILLED: Schema = {"type": "string", "minLength": 1}
_TIME: Schema = {"type": "string", "format": "date-time"}
_ENDPOINT_PATTERN = "ep_[0-9A-Za-z]{22,40}"
# An id of 20 bytes that starts with `a` or a later letter was minted after 2148, or is too large.
_EVENT_PATTERN = "msg_[0-9A-Z][0-9A-Za-z]{26}"
_ATTEMPT_PATTERN = "atmpt_[0-9A-Za-z]{27}"
_UNDELIVERED_PATTERN = rf"{_ENDPOINT_PATTERN}\.(exhausted|failing|waiting)\.{_EVENT_PATTERN}"
# In JSON Schema, `5.0` is an integer too.
_WHOLE = re.compile(r"(\d{1,9})(?:\.0+)?", re.ASCII)
_UNENCODED_PLUS = re.compile(r" (?=\d\d:\d\d$)")


@dataclass(frozen=True, slots=True, eq=False)
class Parameter(Generic[T_co]):
    """One parameter of a route.

    Attributes:
        read: Returns the value, given what was sent under this name: nothing, one value or several.
        key: Its name in the document, if several parameters share one name.
        lists_event_types: Whether its values are names of event types, which the document enumerates.
    """

    name: str
    description: str
    schema: Schema
    read: Callable[[Sequence[str]], T_co]
    place: Literal["query", "path", "header"] = "query"
    key: str = ""
    lists_event_types: bool = False

    def values_in(self, request: Request) -> Sequence[str]:
        """Return what a request sends under this name."""
        if self.place == "path":
            return [request.path_params[self.name]]
        return (request.headers if self.place == "header" else request.query_params).getlist(self.name)


def read_parameters(request: Request, parameters: Sequence[Parameter[Any]]) -> dict[Parameter[Any], Any]:
    """Return the values of all parameters of a request.

    Raises:
        InvalidRequest: A value is malformed or a parameter is unknown, so that no filter is ignored.
        NotFound: An id in the path is malformed.
    """
    known = {parameter.name for parameter in parameters if parameter.place == "query"}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        names = ", ".join(f"`{name}`" for name in sorted(known)) or "none"
        raise InvalidRequest(
            f"There is no parameter `{unknown[0][:100]}` here. Known are {names}.", code="unknown_parameter"
        )
    return {parameter: parameter.read(parameter.values_in(request)) for parameter in parameters}


def _once(name: str, values: Sequence[str]) -> str | None:
    if len(values) > 1:
        raise InvalidRequest(f"`{name}` may be given only once.")
    return values[0] if values else None


def _text(name: str, description: str, schema: Schema = _STRING, **options: Any) -> Parameter[str | None]:
    return Parameter(name, description, schema, lambda values: _once(name, values), **options)


def _choice(name: str, description: str, *choices: W, **options: Any) -> Parameter[W | None]:
    words = {str(choice): choice for choice in choices}

    def read(values: Sequence[str]) -> W | None:
        text = _once(name, values)
        if text is not None and text not in words:
            raise InvalidRequest(f"`{name}` must be one of {', '.join(f'`{word}`' for word in words)}.")
        return None if text is None else words[text]

    return Parameter(name, description, {"type": "string", "enum": list(choices)}, read, **options)


def _integer(name: str, description: str, low: int, high: int) -> Parameter[int | None]:
    def read(values: Sequence[str]) -> int | None:
        text = _once(name, values)
        if text is None:
            return None
        match = _WHOLE.fullmatch(text)
        if match is None or not low <= int(match[1]) <= high:
            raise InvalidRequest(f"`{name}` must be a whole number from {low} to {high}.")
        return int(match[1])

    return Parameter(name, description, {"type": "integer", "minimum": low, "maximum": high}, read)


def _limit(default: int, most: int) -> Parameter[int]:
    optional = _integer("limit", "The maximum number of items.", 1, most)

    def read(values: Sequence[str]) -> int:
        asked = optional.read(values)
        return default if asked is None else asked

    return Parameter(optional.name, optional.description, {**optional.schema, "default": default}, read)


def _time(name: str, description: str) -> Parameter[datetime | None]:
    def read(values: Sequence[str]) -> datetime | None:
        text = _once(name, values)
        if text is None:
            return None
        try:
            # A `+` that was not percent-encoded arrives as a space.
            return parse_time(_UNENCODED_PLUS.sub("+", text))
        except ValueError as exc:
            raise InvalidRequest(f"`{name}` {exc}.", code="invalid_time") from None

    return Parameter(name, description, _TIME, read)


def _cursor(key: str, pattern: str, is_cursor: Callable[[str], object]) -> Parameter[str | None]:
    def read(values: Sequence[str]) -> str | None:
        text = _once("cursor", values)
        if text is not None and not is_cursor(text):
            raise invalid_cursor()
        return text

    description = "The `nextCursor` of the previous page."
    return Parameter("cursor", description, {"type": "string", "pattern": f"^{pattern}$"}, read, key=key)


def _id(name: str, key: str, what: str, pattern: str, is_id: Callable[[str], object]) -> Parameter[str]:
    def read(values: Sequence[str]) -> str:
        if not is_id(values[0]):
            raise NotFound(f"There is no such {what}.")
        return values[0]

    schema = {"type": "string", "pattern": f"^{pattern}$"}
    return Parameter(name, f"The id of the {what}.", schema, read, place="path", key=key)


def _optional_id(name: str, key: str, what: str, pattern: str, is_id: Callable[[str], object]) -> Parameter[str | None]:
    def read(values: Sequence[str]) -> str | None:
        text = _once(name, values)
        if text is not None and not is_id(text):
            raise InvalidRequest(f"`{name}` is not the id of an {what}.")
        return text

    return Parameter(name, f"Only this {what}.", {"type": "string", "pattern": f"^{pattern}$"}, read, key=key)


def _event_types(most: int) -> Parameter[tuple[str, ...]]:
    def read(values: Sequence[str]) -> tuple[str, ...]:
        names = [part.strip() for value in values for part in value.split(",")]
        if len(names) > most:
            raise InvalidRequest(f"Name {most} event types at most.", code="too_many_event_types")
        return tuple(dict.fromkeys(names))

    return Parameter(
        "event_type",
        "Only these event types. Repeat it, or separate names by commas. A name that is no longer in the catalog is "
        "accepted while there are events of it.",
        {"type": "array", "maxItems": most},
        read,
        lists_event_types=True,
    )


def _bounded(name: str, description: str, longest: int) -> Parameter[str | None]:
    def read(values: Sequence[str]) -> str | None:
        text = _once(name, values)
        if text is not None and not 1 <= len(text) <= longest:
            raise InvalidRequest(f"`{name}` must have 1 to {longest} characters.")
        if text is not None and "\x00" in text:
            # Nothing contains it, and PostgreSQL refuses calls with it.
            raise InvalidRequest(f"`{name}` must not contain NUL (U+0000).")
        return text

    return Parameter(name, description, {**_FILLED, "maxLength": longest, "pattern": r"^[^\x00]*$"}, read)


_is_attempt_id = re.compile(_ATTEMPT_PATTERN, re.ASCII).fullmatch

EVENT_ID = _id("id", "eventId", "event", _EVENT_PATTERN, is_message_id)
ENDPOINT_ID = _id("id", "endpointId", "endpoint", _ENDPOINT_PATTERN, is_endpoint_id)
ENDPOINT = _id("endpoint", "endpoint", "endpoint", _ENDPOINT_PATTERN, is_endpoint_id)
ENDPOINT_FILTER = _optional_id("endpoint", "endpointFilter", "endpoint", _ENDPOINT_PATTERN, is_endpoint_id)
EVENT_TYPES = _event_types(20)
CHANNEL = _bounded("channel", "Only events with this label.", 128)
TEXT = _bounded("text", "Only events whose payload contains this text, exactly.", 200)
LIMIT = _limit(50, LARGEST_PAGE)
EVENT_CURSOR = _cursor("eventCursor", _EVENT_PATTERN, is_message_id)
ENDPOINT_CURSOR = _cursor("endpointCursor", _ENDPOINT_PATTERN, is_endpoint_id)
ATTEMPT_CURSOR = _cursor("attemptCursor", _ATTEMPT_PATTERN, _is_attempt_id)
ENDPOINT_ORDER: Parameter[EndpointOrder | None] = _choice(
    "order",
    "`newest` first, which is the default. `urgency`: first what needs attention, that is endpoints that were disabled "
    "because of failures, then those that are failing, those that are paused, those that work, and those that someone "
    "disabled. An endpoint that changes meanwhile may be missing from the next pages or be listed again. A cursor "
    "continues in the order of its page.",
    *get_args(EndpointOrder),
)
ENDPOINT_LIST_CURSOR = _cursor(
    "endpointListCursor",
    rf"([0-4]\.)?{_ENDPOINT_PATTERN}",
    lambda text: is_endpoint_id(text) or is_urgency_cursor(text),
)
BEFORE = _time("before", "Only items from before this time.")
AFTER = _time("after", "Only items from this time on.")
STATE: Parameter[UndeliveredState | None] = _choice(
    "state",
    "Only deliveries in this state: `exhausted` (no attempts left), `failing` (waits for a retry) or `waiting` (for "
    "its first attempt).",
    *get_args(UndeliveredState),
)
EVENT_STATE: Parameter[EventState | None] = _choice(
    "state",
    "Only events with a delivery in this state: `delivered`, `waiting` (for its first attempt), `failing` (waits for a "
    "retry) or `exhausted` (no attempts left). `unsent`: only events without deliveries.",
    *get_args(EventState),
    key="eventState",
)
UNDELIVERED_CURSOR = _cursor(
    "undeliveredCursor", _UNDELIVERED_PATTERN, re.compile(_UNDELIVERED_PATTERN, re.ASCII).fullmatch
)
SINCE = _time("since", "The start. By default, one day before `until`.")
UNTIL = _time("until", "The end. By default, now. At most 31 days after `since`.")
STATUS: Parameter[AttemptStatus | None] = _choice(
    "status", "Only attempts with this outcome.", *get_args(AttemptStatus)
)
STATUS_CODE_CLASS = _integer("status_code_class", "2 for 200 to 299, and so on. 0 for no response.", 0, 5)
TICKET = _text("ticket", "Replaces a key. It contains its own filter.", _FILLED)
LAST_EVENT_ID = _text("last_event_id", "The same as the header `Last-Event-ID`.")
# Polyfills of `EventSource` send this name.
LAST_EVENT_ID_CAMEL = _text("lastEventId", "The same as the header `Last-Event-ID`.")
LAST_EVENT_ID_HEADER = _text("Last-Event-ID", "The event to resume after.", place="header")
TOKEN = _text("token", "From the link of `POST /portal`.", _FILLED)
THEME = _text("theme", "`light` or `dark`. By default, the browser's setting.")
NAV = _text("nav", "`none` leaves the navigation out, for a page that has its own around the portal.")
