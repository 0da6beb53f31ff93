"""Writes that run together, in fewer statements than each alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Generic, Self, TypeVar

__all__ = ["Joint"]

T = TypeVar("T")
Connection = sqlite3.Connection


class Joint(Generic[T]):
    """A write that can run together with its neighbours of the same class, in fewer statements.

    Called alone, it runs alone. Both ways have the same effect and return the same results.
    """

    __slots__ = ()

    @property
    def joins(self) -> bool:
        """Whether this one may run with its neighbours."""
        return True

    def __call__(self, connection: Connection) -> T:
        """Run alone."""
        raise NotImplementedError

    @classmethod
    def run_together(cls, connection: Connection, operations: Sequence[Self]) -> list[T]:
        """Run neighbours that all `joins`, and return the result of each."""
        raise NotImplementedError
