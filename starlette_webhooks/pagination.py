"""Pages of lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette_webhooks.exceptions import InvalidRequest

__all__ = ["LARGEST_PAGE", "Page", "check_cursor", "check_limit", "invalid_cursor"]

T = TypeVar("T")

LARGEST_PAGE = 250
"""The maximum of items per page."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list.

    Attributes:
        items: The objects, newest first. There may be fewer than asked for, even if more follow.
        next_cursor: The cursor of the next page, or None if `done`.
        done: Whether this is the last page.
    """

    items: Sequence[T]
    next_cursor: str | None
    done: bool


def check_limit(limit: int) -> None:
    """Raise `InvalidRequest` for an invalid size of a page."""
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidRequest(f"`limit` must be a whole number from 1 to {LARGEST_PAGE}.")


def check_cursor(cursor: str | None, is_cursor: Callable[[str], bool]) -> None:
    """Raise `invalid_cursor` for a malformed cursor."""
    if cursor is not None and not is_cursor(cursor):
        raise invalid_cursor()


def invalid_cursor() -> InvalidRequest:
    """Return the error for an invalid cursor."""
    return InvalidRequest(
        "Invalid cursor. Send the `nextCursor` of the previous page, or none for the first page.", code="invalid_cursor"
    )
