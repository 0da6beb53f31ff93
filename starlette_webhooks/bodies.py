"""The models of request bodies, whose rules also apply to the arguments of `webhooks.endpoints(...)`."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from starlette_webhooks.delivery.custom_headers import is_refused
from starlette_webhooks.endpoints import SECRET_OVERLAP, UNSET, EndpointChanges
from starlette_webhooks.exceptions import InvalidBody, excerpt
from starlette_webhooks.signing import parse_secret
from starlette_webhooks.times import parse_time

__all__ = [
    "Body",
    "EndpointChange",
    "EndpointCreation",
    "EventTest",
    "Nothing",
    "PortalRequest",
    "Recovery",
    "Rotation",
    "TicketRequest",
    "UndeliveredRetry",
    "check_body",
]

B = TypeVar("B", bound="Body")

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
_VALUE = re.compile(r"[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?|")
_METADATA_BYTES = 4096
_MOST_HEADERS = 20
_QUAD = "[A-Za-z0-9+/]{4}"
_TWO, _THREE = "[A-Za-z0-9+/]{2}(==)?", "[A-Za-z0-9+/]{3}=?"
# 24 to 64 bytes in base64: 8 to 21 groups of four characters and a rest, with or without padding.
_SECRET = f"^(whsec_)?(({_QUAD}){{8,20}}({_TWO}|{_THREE})?|({_QUAD}){{21}}({_TWO})?)$"
# The same three bytes eight times, as in a placeholder.
_REPEATING = re.compile(r"^(whsec_)?(.{4})\2{7}")
_INVALID_TIME = "invalid_time"
_MOST_NAMED = 250
_FILTER_OF_UNDELIVERED = ("endpoint", "eventTypes", "states", "statusCodeClass", "before", "after")


def _canonical_secret(text: str) -> str:
    if _REPEATING.match(text):
        raise ValueError("the secret repeats the same bytes; leave it out to have one generated")
    # Standard Webhooks' Go library refuses a secret without its padding.
    return "whsec_" + base64.b64encode(parse_secret(text)).decode()


def _whole(value: Any) -> Any:
    # In JSON Schema, `5.0` is an integer too.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _few(value: Any, *, most: int) -> Any:
    # Otherwise validation would make an error for each of thousands of wrong entries.
    if isinstance(value, dict) and len(value) > most:
        raise ValueError(f"more than {most} entries")
    return value


def _few_events(value: Any) -> Any:
    if isinstance(value, dict):
        named = sum(max(1, len(events)) if isinstance(events, list) else 1 for events in value.values())
        if named > _MOST_NAMED:
            raise ValueError(f"more than {_MOST_NAMED} events")
    return value


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_time(value)
    except ValueError as exc:
        raise PydanticCustomError(_INVALID_TIME, "{reason}", {"reason": str(exc)}) from None


# PostgreSQL cannot store NUL in a text. Its error would be answered like an outage, with 503.
_TEXT = r"^[^\x00]*$"
Text = Annotated[str, StringConstraints(pattern=_TEXT)]
Channel = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]{1,128}$")]
EventTypeName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
EndpointId = Annotated[str, StringConstraints(pattern=r"^ep_[0-9A-Za-z]{22,40}$")]
EventId = Annotated[str, StringConstraints(pattern=r"^msg_[0-9A-Z][0-9A-Za-z]{26}$")]
Headers = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=4096)]],
    Field(max_length=_MOST_HEADERS),
    BeforeValidator(partial(_few, most=_MOST_HEADERS)),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": _MOST_HEADERS,
            "propertyNames": {"pattern": f"^{_TOKEN.pattern}$"},
            "additionalProperties": {"type": "string", "maxLength": 4096, "pattern": f"^({_VALUE.pattern})$"},
            "description": "Sent with each delivery. Names that a delivery sets itself are refused, such as `host`, "
            "`content-type` and `webhook-id`, those of proxies such as `x-forwarded-for`, and a name in two spellings.",
        }
    ),
]
Metadata = Annotated[
    dict[Text, Text],
    BeforeValidator(partial(_few, most=_METADATA_BYTES)),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": _TEXT},
            "additionalProperties": {"type": "string", "pattern": _TEXT},
            "description": f"{_METADATA_BYTES} bytes at most, names included.",
        }
    ),
]
Secret = Annotated[
    str,
    StringConstraints(max_length=200),
    AfterValidator(_canonical_secret),
    WithJsonSchema({"type": "string", "pattern": _SECRET, "not": {"pattern": _REPEATING.pattern}}),
]
Time = Annotated[
    AwareDatetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation")
]
URL = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2048),
    Field(json_schema_extra={"format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"}),
]


class Body(BaseModel):
    """A JSON object in camelCase. Unknown fields are refused.

    Attributes:
        max_bytes: The maximum size. An endpoint with the maximum of headers and metadata has about 90 KiB.
    """

    max_bytes: ClassVar[int] = 131_072

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, strict=True, hide_input_in_errors=True)

    def __repr_args__(self) -> Iterable[tuple[str | None, object]]:
        # Some values are secret.
        return ((None, name) for name in sorted(self.model_fields_set))


class Nothing(Body):
    """An empty object, or no body."""


class EndpointChange(Body):
    """The fields of an endpoint to change. Fields that are left out stay unchanged."""

    url: URL = ""
    description: Annotated[Text, StringConstraints(max_length=1024)] = ""
    event_types: Annotated[list[EventTypeName], Field(max_length=100)] = []
    channels: Annotated[list[Channel], Field(max_length=10)] = []
    disabled: StrictBool = False
    rate_limit: Annotated[int, Field(ge=1, le=10_000), BeforeValidator(_whole)] | None = None
    metadata: Metadata = {}
    headers: Headers = {}

    @field_validator("metadata")
    @classmethod
    def _metadata(cls, value: dict[str, str]) -> dict[str, str]:
        if sum(len(key.encode()) + len(item.encode()) for key, item in value.items()) > _METADATA_BYTES:
            raise ValueError(f"metadata may have {_METADATA_BYTES} bytes at most")
        return value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, str]) -> dict[str, str]:
        if len({name.lower() for name in value}) < len(value):
            raise ValueError("a header is named twice (names are not case-sensitive)")
        for name, item in value.items():
            if _TOKEN.fullmatch(name) is None:
                raise ValueError(f"{name[:128]!r} is not a valid name of a header (RFC 9110, 5.1)")
            if is_refused(name):
                raise ValueError(f"the header `{name}` is not allowed; leave it out")
            if _VALUE.fullmatch(item) is None:
                raise ValueError(
                    f"the value of the header `{name}` must not have control characters, or spaces at its ends"
                )
        return value

    def changes(self) -> EndpointChanges:
        """Return the given fields."""
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        for name in ("event_types", "channels"):
            if name in given:
                given[name] = tuple(dict.fromkeys(given[name]))
        return EndpointChanges(**given)


class EndpointCreation(EndpointChange):
    """A new endpoint. `url` is required."""

    url: URL
    secret: Secret | None = None

    def changes(self) -> EndpointChanges:
        """Return the given fields."""
        given = super().changes()
        if given.secret is None:
            return EndpointChanges(**{**given.given(), "secret": UNSET})
        return given


class Rotation(Body):
    """A new secret. A random one by default."""

    key: Secret | None = None
    overlap: Annotated[
        int,
        Field(ge=0, le=604_800, description="Seconds that the old secret stays valid. 0 ends it at once."),
        BeforeValidator(_whole),
    ] = SECRET_OVERLAP


class EventTest(Body):
    """A test event."""

    # Validating data takes time on the event loop, and customers choose this data.
    max_bytes = 32_768

    event_type: EventTypeName = "test.ping"
    data: Annotated[
        dict[str, Any] | None,
        Field(description="It must match the schema of the event type. By default, the example of the type."),
    ] = None


class Recovery(Body):
    """The deliveries to recover."""

    since: Time
    until: Annotated[Time | None, Field(description="It must be after `since`. By default, now.")] = None
    missing: StrictBool = False
    count_only: Annotated[StrictBool, Field(description="Count what would be recovered, and recover nothing.")] = False

    def check_order(self) -> None:
        """Raise `InvalidBody` unless `since` is before `until`."""
        if self.until is not None and self.until <= self.since:
            raise InvalidBody("`since` must be before `until`.", code=_INVALID_TIME)


class UndeliveredRetry(Body):
    """A filter of the undelivered deliveries to retry. All that are exhausted or failing by default."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {"required": ["deliveries"], "anyOf": [{"required": [name]} for name in _FILTER_OF_UNDELIVERED]}
        }
    )

    endpoint: EndpointId | None = None
    event_types: Annotated[list[EventTypeName], Field(max_length=20)] = []
    states: Annotated[list[Literal["exhausted", "failing"]], Field(max_length=2)] = []
    status_code_class: Annotated[
        Annotated[int, Field(ge=0, le=5), BeforeValidator(_whole)] | None,
        Field(description="The class of the last status. 0 for no response."),
    ] = None
    before: Annotated[Time | None, Field(description="Only events from before this time.")] = None
    after: Annotated[Time | None, Field(description="Only events from this time on.")] = None
    deliveries: Annotated[
        dict[EndpointId, Annotated[list[EventId], Field(min_length=1, max_length=_MOST_NAMED)]] | None,
        Field(
            max_length=_MOST_NAMED,
            description="Instead of a filter: the ids of events by the ids of endpoints, "
            f"{_MOST_NAMED} events at most.",
        ),
        BeforeValidator(_few_events),
    ] = None
    count_only: Annotated[StrictBool, Field(description="Count what would be retried, and retry nothing.")] = False

    def named(self) -> list[tuple[str, str]] | None:
        """Return the ids of the given events and endpoints, or None for a filter.

        Raises:
            InvalidBody: There is a filter too.
        """
        if "deliveries" in self.model_fields_set and self.model_fields_set - {"deliveries", "count_only"}:
            raise InvalidBody("`deliveries` replaces the other fields. Leave them out.")
        if self.deliveries is None:
            return None
        return [(event, endpoint) for endpoint, events in self.deliveries.items() for event in dict.fromkeys(events)]


class TicketRequest(Body):
    """The filter of a ticket's stream. Empty means all events."""

    event_types: Annotated[list[EventTypeName], Field(max_length=20)] = []
    channel: Channel | None = None


class PortalRequest(Body):
    """The duration of a portal session in seconds: one hour by default, seven days at most."""

    expires_in: Annotated[int, Field(ge=60, le=604_800), BeforeValidator(_whole)] = 3600


def check_body(model: type[B], value: Mapping[str, Any]) -> B:
    """Validate a body and return it.

    Raises:
        InvalidBody: The body is not valid. The message names the field.
    """
    if len(value) > len(model.model_fields):
        # Validation would create an error for each of thousands of unknown fields.
        known = {field.alias or name for name, field in model.model_fields.items()}
        raise _unknown_field(next(name for name in value if name not in known), model)
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        raise _invalid_body(exc, model) from exc


def _unknown_field(name: str, model: type[Body]) -> InvalidBody:
    known = ", ".join(f"`{field.alias or name}`" for name, field in model.model_fields.items())
    return InvalidBody(f"`{excerpt(name)}` is not a field of this body. The fields are {known or 'none'}.")


def _invalid_body(error: ValidationError, model: type[Body]) -> InvalidBody:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return _unknown_field(path, model)
    where = excerpt(path)
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    detail = f"`{where}`: {message}." if where else f"{message}."
    return InvalidBody(detail, code=_INVALID_TIME if first["type"] == _INVALID_TIME else None)
