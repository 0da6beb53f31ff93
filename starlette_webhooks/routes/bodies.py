"""What the routes take as bodies."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StringConstraints, field_validator
from pydantic.alias_generators import to_camel

from starlette_webhooks.delivery.connection import RESERVED_HEADERS
from starlette_webhooks.endpoints import UNSET, EndpointChanges
from starlette_webhooks.signing import parse_secret

__all__ = [
    "EndpointChange",
    "EndpointCreation",
    "EventTest",
    "Nothing",
    "PortalRequest",
    "Recovery",
    "Rotation",
    "TicketRequest",
]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
_VALUE = re.compile(r"[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?|")
# What the backend sets itself, and what would change how the message is framed or read (RFC 9110, RFC 9112).
_OURS = {name.decode() for name in RESERVED_HEADERS} | {"content-encoding", "content-type", "date", "user-agent", "via"}
_OUR_PREFIXES = ("webhook-", "svix-")
_HEADERS = 20
_METADATA_BYTES = 4096


def _secret(text: str) -> str:
    parse_secret(text)
    return "whsec_" + text.removeprefix("whsec_")


Channel = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9._-]{1,128}$")]
EventTypeName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Secret = Annotated[str, StringConstraints(max_length=200), AfterValidator(_secret)]


class Body(BaseModel):
    """A JSON object in camelCase; fields that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, strict=True)


class Nothing(Body):
    """An empty object, or no body."""


class EndpointChange(Body):
    """The fields of an endpoint to change; what is left out stays."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2048)] = ""
    description: Annotated[str, StringConstraints(max_length=1024)] = ""
    event_types: Annotated[list[EventTypeName], Field(max_length=100, strict=True)] = []
    channels: Annotated[list[Channel], Field(max_length=10)] = []
    disabled: StrictBool = False
    rate_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    metadata: dict[str, str] = {}
    headers: dict[str, str] = {}

    @field_validator("metadata")
    @classmethod
    def _metadata(cls, value: dict[str, str]) -> dict[str, str]:
        if sum(len(key.encode()) + len(item.encode()) for key, item in value.items()) > _METADATA_BYTES:
            raise ValueError(f"metadata may have {_METADATA_BYTES} bytes at most")
        return value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, str]) -> dict[str, str]:
        if len(value) > _HEADERS:
            raise ValueError(f"an endpoint may have {_HEADERS} headers at most")
        if len({name.lower() for name in value}) < len(value):
            raise ValueError("a header is named twice; names are the same in upper and lower case")
        for name, item in value.items():
            if _TOKEN.fullmatch(name) is None:
                raise ValueError(f"{name[:128]!r} is no name for a header (RFC 9110, 5.1)")
            if name.lower() in _OURS or name.lower().startswith(_OUR_PREFIXES):
                raise ValueError(f"the header `{name}` is set by us; leave it out")
            if len(item) > 4096 or _VALUE.fullmatch(item) is None:
                raise ValueError(
                    f"the value of the header `{name}` must have 4096 characters at most, no control character, and no "
                    "space at its ends"
                )
        return value

    def changes(self) -> EndpointChanges:
        """The fields that were given."""
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        for name in ("event_types", "channels"):
            if name in given:
                given[name] = tuple(dict.fromkeys(given[name]))
        return EndpointChanges(**given)


class EndpointCreation(EndpointChange):
    """A new endpoint; `url` is required."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    secret: Secret | None = None

    def changes(self) -> EndpointChanges:
        """The fields that were given."""
        given = super().changes()
        if given.secret is None:
            return EndpointChanges(**{**given.given(), "secret": UNSET})
        return given


class Rotation(Body):
    """A new secret; a random one where none is given."""

    key: Secret | None = None


class EventTest(Body):
    """An event to try things out with."""

    event_type: EventTypeName = "test.ping"
    data: dict[str, Any] | None = None


class Recovery(Body):
    """Which deliveries to make again; times in RFC 3339."""

    since: str
    until: str | None = None
    missing: StrictBool = False


class TicketRequest(Body):
    """What the stream of a ticket may carry; nothing means all."""

    event_types: Annotated[list[EventTypeName], Field(max_length=20)] = []
    channel: Channel | None = None


class PortalRequest(Body):
    """How long a portal session lasts, in seconds: one hour by default, seven days at most."""

    expires_in: Annotated[int, Field(ge=60, le=604_800)] = 3600
