"""Aliases shared by all modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    from uuid import UUID

    from pydantic import BaseModel
    from starlette.requests import HTTPConnection

JSON: TypeAlias = Any
"""A value that JSON can carry."""

JSONObject: TypeAlias = Mapping[str, Any]
"""A JSON object: string keys, values that JSON can carry."""


class Dataclass(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Struct(Protocol):
    """An instance of a msgspec struct."""

    __struct_fields__: ClassVar[tuple[str, ...]]


TypedData: TypeAlias = "BaseModel | Dataclass | Struct"
"""`data` that knows its event type, where its class is the schema of one."""

EventData: TypeAlias = "Mapping[str, object] | TypedData"
"""What an event carries: a mapping that JSON can carry, or an instance of a class."""

TenantId: TypeAlias = "str | int | UUID"
"""A tenant, as hosts have it at hand."""

TenantResolver: TypeAlias = "Callable[[HTTPConnection], TenantId | None]"
"""Returns the tenant of what a request of the host emits, or None if nobody is signed in. Called by `emit`."""

Clock: TypeAlias = Callable[[], float]
"""Seconds since the epoch, as `time.time`."""
