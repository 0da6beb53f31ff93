"""Encodes `data` as JSON, once for all uses.

The encoder of the standard library handles plain JSON values. Other values are encoded as Pydantic does in JSON mode.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from starlette_webhooks.exceptions import InvalidEvent, excerpt

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["adapter_of", "encode_data", "escape_separators", "is_typed"]

# Receivers have limits too: serde_json, with which Svix reads events, refuses 128 levels of nesting.
_DEPTH = 100
# JSON allows these characters, but some readers of Server-Sent Events and JavaScript take them for line breaks.
_SEPARATORS = {"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_SCALARS = (str, int, float, bool, type(None))
_LEAVES = frozenset(_SCALARS)


def encode_data(data: object) -> bytes:
    """Encode `data` as JSON in UTF-8, on one line.

    Args:
        data: A dict or another mapping with string keys at every level, a Pydantic model, a dataclass or a msgspec
            struct. None means an empty object.

    Raises:
        InvalidEvent: It is something else, or contains a value without a JSON form. The message says what to do.
    """
    try:
        if type(data) is not dict:
            data = _as_dict(data)
        _check(data, _DEPTH)
        text = _encode(data)
        return (text if text.isascii() else escape_separators(text)).encode()
    except InvalidEvent:
        raise
    except TypeError as exc:
        raise InvalidEvent(
            f"`data` contains a value that is not valid JSON: {exc}. Convert it first, for example with `str(...)`."
        ) from exc
    except RecursionError as exc:
        raise InvalidEvent("`data` contains itself. Remove the reference.") from exc
    except UnicodeEncodeError as exc:
        raise InvalidEvent(
            "`data` contains text with lone surrogates, which UTF-8 cannot encode. Decode the text correctly."
        ) from exc
    except ValueError as exc:
        raise InvalidEvent(
            f"`data` contains a value that is not valid JSON: {exc}. Use None or a string for NaN and infinity."
        ) from exc


def escape_separators(text: str) -> str:
    """Escape U+0085, U+2028 and U+2029 in JSON, which can only contain them in strings."""
    for character, escaped in _SEPARATORS.items():
        if character in text:
            text = text.replace(character, escaped)
    return text


def is_typed(value: object) -> bool:
    """Return whether this is an instance of a Pydantic model, a dataclass or a msgspec struct."""
    kind = type(value)
    return hasattr(kind, "model_dump") or is_dataclass(kind) or hasattr(kind, "__struct_fields__")


@lru_cache(1024)
def adapter_of(kind: Any) -> TypeAdapter[Any]:
    """Return Pydantic's validator and serializer of a type."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _as_dict(data: object) -> Any:
    if data is None:
        return {}
    plain = _plain(data) if is_typed(data) or isinstance(data, Mapping) else data
    if not isinstance(plain, dict):
        raise InvalidEvent(
            f"`data` must be a dict, not {type(data).__name__}. Put the value under a key: `{{'value': ...}}`."
        )
    return plain


def _check(value: Any, depth: int) -> None:
    # The encoder would turn keys such as 1, True and None into strings, which may be equal.
    if not depth:
        raise InvalidEvent(f"`data` is nested too deeply, or contains itself. {_DEPTH} levels are allowed. Flatten it.")
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str and not isinstance(key, str):
                raise InvalidEvent(
                    f"`data` has the key {excerpt(repr(key))}, but JSON keys are strings. Use "
                    f"`{excerpt(repr(str(key)))}`."
                )
            if type(item) not in _LEAVES and isinstance(item, (dict, list, tuple)):
                _check(item, depth - 1)
    else:
        for item in value:
            if type(item) not in _LEAVES and isinstance(item, (dict, list, tuple)):
                _check(item, depth - 1)


def _plain(value: Any) -> Any:
    """Convert a value to a JSON type. The encoder calls this again for nested values."""
    kind = type(value)
    if isinstance(value, Enum):
        return value.value
    if hasattr(kind, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(kind, "__struct_fields__"):
        import msgspec

        return msgspec.to_builtins(value)
    if is_dataclass(kind):
        return _of_dataclass(value)
    if isinstance(value, Mapping):
        return _checked(dict(value))
    return _scalar(value)


def _of_dataclass(value: Any) -> Any:
    if hasattr(type(value), "__pydantic_serializer__"):
        return adapter_of(value.__class__).dump_python(value, mode="json", by_alias=True)
    return _checked({field.name: getattr(value, field.name) for field in fields(value)})


def _checked(value: dict[Any, Any]) -> dict[Any, Any]:
    _check(value, _DEPTH)
    return value


def _scalar(value: Any) -> Any:
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    if isinstance(value, Decimal) and not value.is_finite():
        raise ValueError(f"{value} is not a JSON number")
    unknown = TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    # Pydantic encodes bytes as text, and sets and iterators as lists, which receivers could not reverse.
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise unknown
    try:
        plain = to_jsonable_python(value)
    except PydanticSerializationError as exc:
        raise unknown from exc
    if not isinstance(plain, _SCALARS):
        raise unknown
    return plain


_encode = json.JSONEncoder(
    # Data that contains itself is reported as nested too deeply.
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    separators=(",", ":"),
    default=_plain,
).encode
