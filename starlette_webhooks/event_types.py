"""Event types, and the catalog of them."""

from __future__ import annotations

import difflib
import heapq
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette_webhooks.encoding import is_typed
from starlette_webhooks.exceptions import InvalidEvent, UnknownEventType, excerpt
from starlette_webhooks.schemas import DataSchema, schema_of

if TYPE_CHECKING:
    from starlette_webhooks.types import EventData, JSONObject

__all__ = [
    "ENDPOINT_DISABLED",
    "ENDPOINT_FAILING",
    "RESERVED",
    "TEST_PING",
    "EventType",
    "EventTypes",
    "SyncResult",
    "is_event_type_name",
]

# Standard Webhooks allows `[a-zA-Z0-9_]` groups separated by full stops; Svix allows 256 characters.
_NAME = re.compile(r"[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*", re.ASCII)
_NAME_LENGTH = 256
# For suggestions: how much of a name is compared, and with how many others.
_COMPARED = 64
_CANDIDATES = 20


def is_event_type_name(name: str) -> bool:
    """Return whether an event type may have this name."""
    return len(name) <= _NAME_LENGTH and _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, init=False)
class EventType:
    """A kind of event that customers can subscribe to.

    Args:
        name: Dotted groups of `[a-zA-Z0-9_]`, such as `invoice.payment_failed` (Standard Webhooks, "Event types").
        label: For people: `Invoice payment failed`. Derived from the name by default.
        category: Its heading in the portal: `Billing`. Derived from the first group by default.
        description: When it is sent, in one or two sentences.
        schema: The schema of `data`: a class, or a JSON Schema (2020-12), which requires `jsonschema-rs`. A class is a
            TypedDict, or a Pydantic model, a dataclass or a msgspec struct, whose instances `emit(...)` then accepts.
        example: An example of `data`. It is stored as the JSON that `emit` would store.
        validate: False publishes the schema without checking events.

    Raises:
        ValueError: The name or the schema is not valid, or the example does not match the schema.
    """

    name: str
    label: str = ""
    category: str = ""
    description: str = ""
    schema: JSONObject | type | None = None
    example: dict[str, Any] | None = None
    validate: bool = True
    _schema: DataSchema = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        name: str,
        *,
        label: str | None = None,
        category: str | None = None,
        description: str | None = None,
        schema: JSONObject | type | None = None,
        example: EventData | None = None,
        validate: bool = True,
    ) -> None:
        if not is_event_type_name(name):
            raise ValueError(
                f"{excerpt(repr(name))} is not a valid name for an event type. Use groups of letters, digits and "
                f"underscores separated by full stops, {_NAME_LENGTH} characters at most, such as "
                "`invoice.payment_failed`."
            )
        group, _, rest = name.partition(".")
        put = object.__setattr__
        put(self, "name", name)
        put(self, "label", label or _words(f"{group} {rest}"))
        put(self, "category", category or _words(group))
        put(self, "description", description or "")
        put(self, "schema", schema)
        put(self, "example", None)
        put(self, "validate", validate)
        put(self, "_schema", schema_of(name, schema, validate=validate))
        if example is not None:
            put(self, "example", json.loads(self.encode(example)))

    @property
    def model(self) -> type | None:
        """The class whose instances are events of this type, or None."""
        return self._schema.bound

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """The JSON Schema (2020-12) of `data`."""
        return self._schema.document

    def encode(self, data: object) -> bytes:
        """Return the JSON to store for `data`.

        Raises:
            InvalidEvent: It does not match the schema, or contains a value without a JSON form.
        """
        return self._schema.encode(data)

    def document(self) -> dict[str, Any]:
        """Return the type as `GET /event-types` lists it."""
        return {
            "name": self.name,
            "label": self.label,
            "category": self.category,
            "description": self.description,
            "schema": self.json_schema,
            "example": self.example,
        }


def _words(name: str) -> str:
    text = name.replace(".", " ").replace("_", " ").strip()
    return text[:1].upper() + text[1:]


TEST_PING = EventType(
    "test.ping",
    label="Test ping",
    category="Webhooks",
    description="Sent on request to test an endpoint.",
    example={"hello": "world"},
)


ENDPOINT_DISABLED = EventType(
    "endpoint.disabled",
    label="Endpoint disabled",
    category="Webhooks",
    description="An endpoint was disabled, because it answered 410 Gone or failed for days.",
    example={"endpointId": "ep_2xYbnVn4gvBVd3z7qjHqSAPrGvi", "url": "https://example.com/hooks", "reason": "gone"},
)


ENDPOINT_FAILING = EventType(
    "endpoint.failing",
    label="Endpoint failing",
    category="Webhooks",
    description="An endpoint has been failing for days, and will be disabled unless an attempt succeeds.",
    example={
        "endpointId": "ep_2xYbnVn4gvBVd3z7qjHqSAPrGvi",
        "url": "https://example.com/hooks",
        "failingSince": "2026-11-20T08:00:00.000Z",
        "disabledAt": "2026-11-25T08:00:00.000Z",
    },
)

RESERVED = frozenset((ENDPOINT_DISABLED.name, ENDPOINT_FAILING.name))
"""The types that only real events have: customers cannot send tests of them."""


def _parts(name: str) -> frozenset[str]:
    return frozenset(name[at : at + 3] for at in range(len(name) - 2))


class _PartsOfNames(dict[str, frozenset[str]]):
    """The three-character parts of each name. Computed on first use."""

    def __missing__(self, name: str) -> frozenset[str]:
        self[name] = parts = _parts(name[:_COMPARED])
        return parts


class EventTypes:
    """The catalog: all event types by name. Always contains `test.ping`, `endpoint.disabled` and `endpoint.failing`."""

    def __init__(self, event_types: Iterable[EventType | str] = ()) -> None:
        own_types = (TEST_PING, ENDPOINT_DISABLED, ENDPOINT_FAILING)
        self._types: dict[str, EventType] = {event_type.name: event_type for event_type in own_types}
        self._by_model: dict[type, EventType] = {}
        self._parts = _PartsOfNames()
        own: set[str] = set()
        for given in event_types:
            event_type = EventType(given) if isinstance(given, str) else given
            if event_type.name in own:
                raise ValueError(f"The event type `{event_type.name}` is registered twice. Keep one of the two.")
            own.add(event_type.name)
            self._types[event_type.name] = event_type
            if event_type.model is not None:
                bound = self._by_model.setdefault(event_type.model, event_type)
                if bound is not event_type:
                    raise ValueError(
                        f"`{event_type.model.__name__}` is the model of both `{bound.name}` and `{event_type.name}`. "
                        "Give each event type its own model."
                    )

    def __iter__(self) -> Iterator[EventType]:
        return iter(self._types.values())

    def __len__(self) -> int:
        return len(self._types)

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def get(self, name: str) -> EventType | None:
        """Return the event type with this name, or None."""
        return self._types.get(name)

    def __getitem__(self, name: str) -> EventType:
        """Return the event type with this name. Raises `UnknownEventType`, which suggests the closest name."""
        try:
            return self._types[name]
        except (KeyError, TypeError):
            raise UnknownEventType(self.describe_unknown(name)) from None

    def of(self, instance: object) -> EventType:
        """Return the event type whose schema is the class of this instance, or one of its bases."""
        if not is_typed(instance):
            raise InvalidEvent(
                "`event_type` must be a name, or an instance of a Pydantic model, a dataclass or a msgspec struct, not "
                f"{type(instance).__name__}."
            )
        return self.for_model(type(instance))

    def for_model(self, model: type) -> EventType:
        """Return the event type whose schema is this class, or one of its bases."""
        for base in model.__mro__:
            if base in self._by_model:
                return self._by_model[base]
        raise UnknownEventType(
            f"No event type is bound to `{model.__name__}`. Add "
            f'`EventType("...", schema={model.__name__})` to `Webhooks(event_types=[...])`.'
        )

    def nearest(self, name: str) -> str | None:
        """Return the most similar registered name, if there is one."""
        # Comparing takes time, and names come from customers, so only the most similar candidates are compared.
        name = name[:_COMPARED]
        parts = _parts(name)
        likely = heapq.nlargest(_CANDIDATES, self._types, lambda known: len(parts & self._parts[known]))
        candidates = {known[:_COMPARED]: known for known in likely}
        found = difflib.get_close_matches(name, candidates, n=1, cutoff=0.5)
        return candidates[found[0]] if found else None

    def describe_unknown(self, name: object) -> str:
        """Return the message for a name that is not in the catalog, with the closest one that is."""
        near = self.nearest(str(name))
        hint = f" Did you mean `{near}`?" if near else ""
        shown = excerpt(repr(name))
        return f"There is no event type {shown}.{hint} Add `EventType({shown})` to `Webhooks(event_types=[...])`."


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The result of registering the catalog with the backend, as names of event types."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
