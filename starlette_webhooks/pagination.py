"""Pages of lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette_webhooks.exceptions import InvalidRequest

__all__ = ["LARGEST_PAGE", "Page", "check_cursor", "check_limit", "invalid_cursor"]

T = TypeVar("T")

LARGEST_PAGE = 250
"""Items that one page may have."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list. `next_cursor` is None where `done`."""

    items: Sequence[T]
    next_cursor: str | None
    done: bool


def check_limit(limit: int) -> None:
    """Raise `InvalidRequest` for a size that a page cannot have."""
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidRequest(f"`limit` must be a whole number from 1 to {LARGEST_PAGE}.")


def check_cursor(cursor: str | None, is_cursor: Callable[[str], bool]) -> None:
    """Raise `invalid_cursor` for a cursor that does not have the form of one."""
    if cursor is not None and not is_cursor(cursor):
        raise invalid_cursor()


def invalid_cursor() -> InvalidRequest:
    """The error for a cursor that no page of ours ended with."""
    return InvalidRequest(
        "Invalid cursor. Send the `nextCursor` of the page before, or none for the first page.", code="invalid_cursor"
    )
