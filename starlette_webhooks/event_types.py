"""Event types, and the catalog of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette_webhooks.exceptions import InvalidEvent, UnknownEventType

if TYPE_CHECKING:
    from pydantic import BaseModel

    from starlette_webhooks.types import JSONObject

__all__ = ["ENDPOINT_DISABLED", "TEST_PING", "EventType", "EventTypes", "SyncResult", "is_event_type_name"]

# Standard Webhooks allows `[a-zA-Z0-9_]` groups divided by full stops; Svix allows 256 characters.
_NAME = re.compile(r"[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*", re.ASCII)
_NAME_LENGTH = 256


def is_event_type_name(name: str) -> bool:
    """Whether an event type may have this name."""
    return len(name) <= _NAME_LENGTH and _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, init=False)
class EventType:
    """A kind of event that customers can subscribe to.

    Args:
        name: Dotted groups of `[a-zA-Z0-9_]`, such as `invoice.payment_failed` (Standard Webhooks, "Event types").
        label: For people: `Invoice payment failed`. Derived from the name where not given.
        category: The heading it stands under in the portal: `Billing`. Derived from the first group where not given.
        description: When it is sent, in a sentence or two.
        schema: What `data` must look like: a Pydantic model, which `emit(Model(...))` then takes as it is, or a JSON
            Schema (2020-12), for which the extra `starlette-webhooks[schema]` checks each event.
        example: An example of `data`.
        validate: False only documents the schema, and checks nothing.

    Raises:
        ValueError: The name is not of that grammar, or the example is not of the schema.
    """

    name: str
    label: str = ""
    category: str = ""
    description: str = ""
    schema: JSONObject | type[BaseModel] | None = None
    example: JSONObject | None = None
    validate: bool = True
    _check: _DataCheck = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        name: str,
        *,
        label: str | None = None,
        category: str | None = None,
        description: str | None = None,
        schema: JSONObject | type[BaseModel] | None = None,
        example: JSONObject | None = None,
        validate: bool = True,
    ) -> None:
        if not is_event_type_name(name):
            raise ValueError(
                f"{name!r} is no name for an event type. Use groups of letters, digits and underscores divided by "
                f"full stops, {_NAME_LENGTH} characters at most, such as `invoice.payment_failed`."
            )
        group, _, rest = name.partition(".")
        put = object.__setattr__
        put(self, "name", name)
        put(self, "label", label or _words(f"{group} {rest}"))
        put(self, "category", category or _words(group))
        put(self, "description", description or "")
        put(self, "schema", schema)
        put(self, "example", example)
        put(self, "validate", validate)
        put(self, "_check", _DataCheck(name, schema, validate))
        if example is not None:
            self.check(example)

    @property
    def model(self) -> type[BaseModel] | None:
        """The Pydantic model bound to this type, if any."""
        return self._check.model

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """The JSON Schema (2020-12) of `data`."""
        return self._check.json_schema

    def check(self, data: Any) -> None:
        """Raise `InvalidEvent` where `data` does not fit the schema."""
        self._check(data)

    def document(self) -> dict[str, Any]:
        """The type as `GET /event-types` lists it."""
        return {
            "name": self.name,
            "label": self.label,
            "category": self.category,
            "description": self.description,
            "schema": self.json_schema,
            "example": self.example,
        }


class _DataCheck:
    """Checks `data` against a Pydantic model or a JSON Schema."""

    __slots__ = ("json_schema", "model", "name", "validator")

    def __init__(self, name: str, schema: Any, validate: bool) -> None:
        self.name = name
        self.model: type[BaseModel] | None = None
        self.json_schema: dict[str, Any] | None = None
        self.validator: Any = None
        if schema is None:
            return
        if isinstance(schema, Mapping):
            self.json_schema = dict(schema)
            if validate:
                self.validator = _json_schema_validator(name, self.json_schema)
        elif isinstance(schema, type) and hasattr(schema, "model_json_schema"):
            self.model = schema
            self.json_schema = schema.model_json_schema(mode="serialization", by_alias=True)
        else:
            raise ValueError(f"The schema of `{name}` must be a JSON Schema as a dict or a Pydantic model class.")

    def __call__(self, data: Any) -> None:
        if self.validator is not None:
            error = next(self.validator.iter_errors(data), None)
            if error is not None:
                raise InvalidEvent(
                    f"`data` does not fit the schema of `{self.name}`: {error.json_path}: {error.message}."
                )
        elif self.model is not None and not isinstance(data, self.model):
            try:
                self.model.model_validate(data)
            except ValueError as exc:
                raise InvalidEvent(f"`data` does not fit the schema of `{self.name}`: {_first_error(exc)}.") from exc


def _first_error(error: Any) -> str:
    """What Pydantic found first, without its links and the names of classes."""
    if not hasattr(error, "errors"):
        return str(error)
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def _json_schema_validator(name: str, schema: Mapping[str, Any]) -> Any:
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError
    except ImportError:
        raise ValueError(
            f"To check events against the JSON Schema of `{name}`, install `starlette-webhooks[schema]`. Or pass a "
            "Pydantic model as `schema=`, or `validate=False` to document the schema only."
        ) from None
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as exc:
        raise ValueError(f"The schema of `{name}` is no JSON Schema (2020-12): {exc.message}.") from exc
    return Draft202012Validator(schema)


def _words(name: str) -> str:
    text = name.replace(".", " ").replace("_", " ").strip()
    return text[:1].upper() + text[1:]


TEST_PING = EventType(
    "test.ping",
    label="Test ping",
    category="Webhooks",
    description="Sent on request, to try out an endpoint.",
    example={"hello": "world"},
)


ENDPOINT_DISABLED = EventType(
    "endpoint.disabled",
    label="Endpoint disabled",
    category="Webhooks",
    description="An endpoint was disabled, because it answered 410 Gone or failed for days.",
    example={"endpointId": "ep_2xYbnVn4gvBVd3z7qjHqSAPrGvi", "url": "https://example.com/hooks", "reason": "gone"},
)


class EventTypes:
    """The catalog: every event type by name. `test.ping` and `endpoint.disabled` are always in it."""

    def __init__(self, event_types: Iterable[EventType | str] = ()) -> None:
        self._types: dict[str, EventType] = {TEST_PING.name: TEST_PING, ENDPOINT_DISABLED.name: ENDPOINT_DISABLED}
        self._by_model: dict[type, EventType] = {}
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
                        "Give each event type a model of its own."
                    )

    def __iter__(self) -> Iterator[EventType]:
        return iter(self._types.values())

    def __len__(self) -> int:
        return len(self._types)

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def get(self, name: str) -> EventType | None:
        """The event type of that name, or None."""
        return self._types.get(name)

    def __getitem__(self, name: str) -> EventType:
        """The event type of that name. Raises `UnknownEventType` with the nearest known name."""
        try:
            return self._types[name]
        except (KeyError, TypeError):
            raise UnknownEventType(self.describe_unknown(name)) from None

    def for_model(self, model: type) -> EventType:
        """The event type that a Pydantic model is bound to."""
        for base in model.__mro__:
            if base in self._by_model:
                return self._by_model[base]
        raise UnknownEventType(
            f"No event type is bound to `{model.__name__}`. Add "
            f'`EventType("...", schema={model.__name__})` to `Webhooks(event_types=[...])`.'
        )

    def nearest(self, name: str) -> str | None:
        """The registered name that is most like this one, if any is."""
        return next(iter(difflib.get_close_matches(name[:_NAME_LENGTH], self._types, n=1, cutoff=0.5)), None)

    def describe_unknown(self, name: object) -> str:
        """What to tell about a name that is not in the catalog: the nearest one that is."""
        near = self.nearest(str(name))
        hint = f" Did you mean `{near}`?" if near else ""
        return f"There is no event type {name!r}.{hint} Add `EventType({name!r})` to `Webhooks(event_types=[...])`."


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What registering the catalog with the engine did, by name of event type."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
