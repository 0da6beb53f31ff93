"""Writes that run together in fewer statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Generic, Self, TypeVar

__all__ = ["Joint"]

T = TypeVar("T")
Connection = sqlite3.Connection


class Joint(Generic[T]):
    """A write that can run together with neighbours of the same class, in fewer statements.

    A call runs it alone. Both ways have the same effects and results.
    """

    __slots__ = ()

    @property
    def joins(self) -> bool:
        """Whether this write may run with its neighbours."""
        return True

    def __call__(self, connection: Connection) -> T:
        """Run this write alone."""
        raise NotImplementedError

    @classmethod
    def run_together(cls, connection: Connection, operations: Sequence[Self]) -> list[T]:
        """Run neighbours for which `joins` is true, and return the result of each."""
        raise NotImplementedError
