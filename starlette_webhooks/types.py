"""Aliases shared by all modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

JSON: TypeAlias = Any
"""A value that JSON can carry."""

JSONObject: TypeAlias = Mapping[str, Any]
"""A JSON object: string keys, values that JSON can carry."""

TenantResolver: TypeAlias = "Callable[[HTTPConnection], str | None]"
"""Tells whose events a request of the host emits, or None where nobody is signed in."""

Clock: TypeAlias = Callable[[], float]
"""Seconds since the epoch, as `time.time`."""
