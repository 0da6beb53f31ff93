"""Type aliases for all modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    from uuid import UUID

    from pydantic import BaseModel
    from starlette.requests import HTTPConnection

JSON: TypeAlias = Any
"""A JSON value."""

JSONObject: TypeAlias = Mapping[str, Any]
"""A JSON object: string keys and JSON values."""


class Dataclass(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Struct(Protocol):
    """An instance of a msgspec struct."""

    __struct_fields__: ClassVar[tuple[str, ...]]


TypedData: TypeAlias = "BaseModel | Dataclass | Struct"
"""`data` with a known event type, if its class is the schema of one."""

EventData: TypeAlias = "Mapping[str, object] | TypedData"
"""The data of an event: a mapping with JSON values, or an instance of a class."""

TenantId: TypeAlias = "str | int | UUID"
"""A tenant, in the types that hosts use."""

TenantResolver: TypeAlias = "Callable[[HTTPConnection], TenantId | None]"
"""Returns the tenant that a request of the host emits for, or None if nobody is signed in. Called by `emit`."""

Clock: TypeAlias = Callable[[], float]
"""Returns seconds since the epoch, like `time.time`."""
