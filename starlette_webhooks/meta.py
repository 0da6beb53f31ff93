"""Small values that all processes of a host share, by name. Whatever keeps a backend's data keeps these, too."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

__all__ = ["Meta"]


class Meta(Protocol):
    """Values by name. Every call raises `BackendUnavailable` if the database cannot be used at the moment."""

    async def read_meta(self, name: str, default: bytes) -> bytes:
        """A value, stored as `default` the first time.

        Of several callers that come with values of their own, only one gets its own back.
        """

    async def write_meta(self, name: str, value: bytes) -> None:
        """Store a value, whatever was there."""

    async def find_meta(self, names: Collection[str]) -> Mapping[str, bytes]:
        """The values that exist, of these names."""

    async def drop_meta(self, start: str, end: str) -> None:
        """Remove the values whose names lie between these two, the first included."""
