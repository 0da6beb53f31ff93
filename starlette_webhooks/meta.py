"""Small named values that all processes of a host share. They are stored with a backend's data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

__all__ = ["Meta"]


class Meta(Protocol):
    """Values by name. Every call raises `BackendUnavailable` if the database is unavailable."""

    async def read_meta(self, name: str, default: bytes) -> bytes:
        """Return a value. It is stored as `default` the first time.

        If several callers pass different defaults, all of them get the same value back.
        """

    async def write_meta(self, name: str, value: bytes) -> None:
        """Store a value, and replace an existing one."""

    async def find_meta(self, names: Collection[str]) -> Mapping[str, bytes]:
        """Return the existing values with these names."""

    async def drop_meta(self, start: str, end: str) -> None:
        """Remove the values with names between these two, including the first."""
