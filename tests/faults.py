"""What many calls raise, so that one test shows all that are wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

__all__ = ["Fault", "faults"]

T = TypeVar("T")
Fault = Exception | None


async def faults(calls: Mapping[str, Callable[[T], Awaitable[object]]], target: T) -> dict[str, Fault]:
    """Return what each call raises, by its name. None if it raises nothing."""
    found: dict[str, Fault] = dict.fromkeys(calls)
    for name, call in calls.items():
        try:
            await call(target)
        except Exception as exc:
            found[name] = exc
    return found
