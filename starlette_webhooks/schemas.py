"""The schemas of `data`: JSON Schemas and classes, and the JSON that they store.

Stored data always matches the published schema. A JSON Schema checks the JSON that is stored. With a class, a dict is
validated as an instance, and the output of the instance is stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol

from starlette_webhooks.encoding import adapter_of, encode_data
from starlette_webhooks.exceptions import InvalidEvent, excerpt

__all__ = ["DataSchema", "schema_of"]

# A pattern that backtracks more than this does not match. Reaching the limit takes a fraction of a millisecond.
_BACKTRACKING = 10_000


class DataSchema(Protocol):
    """The schema of `data`.

    Attributes:
        document: The JSON Schema (2020-12) to publish, or None.
        bound: The class whose instances are events of the type, or None.
    """

    @property
    def document(self) -> dict[str, Any] | None: ...

    @property
    def bound(self) -> type | None: ...

    def encode(self, data: object) -> bytes:
        """Return the JSON to store for `data`. Raises `InvalidEvent` if it does not match."""


def schema_of(name: str, schema: object, *, validate: bool) -> DataSchema:
    """Return the schema of an event type.

    Args:
        name: The event type, for messages.
        schema: None, a JSON Schema, a Pydantic model, a dataclass, a TypedDict or a msgspec struct.
        validate: Whether to check data, or only publish the schema.

    Raises:
        ValueError: The schema is something else, or is not valid.
    """
    if schema is None:
        return Unchecked(None, None)
    if isinstance(schema, Mapping):
        document = dict(schema)
        return JSONSchema(name, document) if validate else Unchecked(document, None)
    if isinstance(schema, type) and hasattr(schema, "__struct_fields__"):
        found: StructSchema | PydanticSchema = StructSchema(name, schema)
    elif isinstance(schema, type) and (
        hasattr(schema, "model_json_schema") or is_dataclass(schema) or _is_typed_dict(schema)
    ):
        found = PydanticSchema(name, schema)
    else:
        raise ValueError(
            f"The schema of `{name}` must be a JSON Schema as a dict, or a class: a Pydantic model, a dataclass, a "
            "TypedDict or a msgspec struct."
        )
    return found if validate else Unchecked(found.document, found.bound)


class Unchecked:
    """No schema, or a schema that is only published."""

    __slots__ = ("bound", "document", "encode")

    def __init__(self, document: dict[str, Any] | None, bound: type | None) -> None:
        self.document = document
        self.bound = bound
        self.encode: Callable[[object], bytes] = encode_data


class JSONSchema:
    """A JSON Schema (2020-12). Checked in Rust, because a pattern or `uniqueItems` must not block the event loop."""

    __slots__ = ("_name", "_validator", "bound", "document")

    def __init__(self, name: str, document: dict[str, Any]) -> None:
        try:
            import jsonschema_rs
        except ImportError:
            raise ValueError(
                f"To check events against the JSON Schema of `{name}`, install `jsonschema-rs`. Or pass a "
                "class as `schema=`, or `validate=False` to publish the schema only."
            ) from None
        self._name = name
        self.document = document
        self.bound = None
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                document,
                # References can only lead to other parts of the schema. Nothing is fetched.
                offline=True,
                pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKING),
            )
        except ValueError as exc:
            message = getattr(exc, "message", str(exc))
            raise ValueError(
                f"The schema of `{name}` is not a valid JSON Schema (2020-12): {excerpt(message)}."
            ) from exc

    def encode(self, data: object) -> bytes:
        """See `DataSchema.encode`."""
        encoded = encode_data(data)
        stored = json.loads(encoded)
        # Finding the error takes much longer than finding out that there is one.
        if not self._validator.is_valid(stored):
            raise InvalidEvent(f"`data` does not match the schema of `{self._name}`: {self._first_error(stored)}.")
        return encoded

    def _first_error(self, stored: Any) -> str:
        import jsonschema_rs

        try:
            self._validator.validate(stored)
        except jsonschema_rs.ValidationError as exc:
            path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in exc.instance_path)
            return f"{excerpt(f'${path}')}: {excerpt(exc.message)}"
        raise AssertionError("The validator contradicts itself.")  # pragma: no cover


class PydanticSchema:
    """A Pydantic model, a dataclass or a TypedDict, which Pydantic validates and serializes."""

    __slots__ = ("_adapter", "_fields", "_name", "bound", "document")

    def __init__(self, name: str, schema: Any) -> None:
        from pydantic.errors import PydanticUserError

        self._name = name
        try:
            self._adapter = adapter_of(schema)
            self.document: dict[str, Any] | None = self._adapter.json_schema(mode="serialization", by_alias=True)
        except PydanticUserError as exc:
            raise ValueError(f"The schema of `{name}` is not a class that Pydantic can use: {exc.message}.") from exc
        self.bound: type | None = None if _is_typed_dict(schema) else schema
        plain = is_dataclass(schema) and not hasattr(schema, "__pydantic_serializer__")
        # The fields of a plain dataclass instance have not been validated.
        self._fields = [field.name for field in fields(schema)] if plain else None

    def encode(self, data: object) -> bytes:
        """See `DataSchema.encode`."""
        if self._fields is not None and self.bound is not None and isinstance(data, self.bound):
            data = {name: getattr(data, name) for name in self._fields}
        try:
            # An instance is used as it is. If its fields were changed to invalid values, serialization fails.
            checked = self._adapter.validate_python({} if data is None else data)
            plain = self._adapter.dump_python(checked, mode="json", by_alias=True, warnings="error")
        except ValueError as exc:
            raise InvalidEvent(f"`data` does not match the schema of `{self._name}`: {_first_error(exc)}.") from exc
        return encode_data(plain)


class StructSchema:
    """A msgspec struct."""

    __slots__ = ("_name", "bound", "document")

    def __init__(self, name: str, schema: Any) -> None:
        import msgspec

        self._name = name
        self.bound = schema
        self.document: dict[str, Any] | None = msgspec.json.schema(schema)

    def encode(self, data: object) -> bytes:
        """See `DataSchema.encode`."""
        import msgspec

        try:
            # msgspec validates input, but not the fields of an instance.
            given = msgspec.to_builtins(data) if isinstance(data, self.bound) else data
            plain = msgspec.to_builtins(msgspec.convert({} if given is None else given, self.bound))
        except (msgspec.ValidationError, TypeError) as exc:
            raise InvalidEvent(f"`data` does not match the schema of `{self._name}`: {excerpt(str(exc))}.") from exc
        return encode_data(plain)


def _is_typed_dict(schema: type) -> bool:
    # From `typing`, or from `typing_extensions`, which Pydantic requires before Python 3.12.
    return issubclass(schema, dict) and hasattr(schema, "__required_keys__")


def _first_error(error: ValueError) -> str:
    """Return Pydantic's first error without links, class names and the value."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return excerpt(str(error))
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = excerpt(".".join(str(part) for part in first["loc"]))
    return f"{where}: {excerpt(first['msg'])}" if where else excerpt(first["msg"])
