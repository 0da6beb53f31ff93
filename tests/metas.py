"""Values that processes share, in a dict."""

from __future__ import annotations

from collections.abc import Collection

from starlette_webhooks.exceptions import BackendUnavailable


class DictMeta:
    """A `Meta` for tests of the layers above it. `lookups` counts reads, of which the first `failures` fail."""

    def __init__(self, *, failures: int = 0) -> None:
        self.values: dict[str, bytes] = {}
        self.lookups = 0
        self.failures = failures

    async def read_meta(self, name: str, default: bytes) -> bytes:
        return self.values.setdefault(name, default)

    async def write_meta(self, name: str, value: bytes) -> None:
        self.values[name] = value

    async def find_meta(self, names: Collection[str]) -> dict[str, bytes]:
        self.lookups += 1
        if self.lookups <= self.failures:
            raise BackendUnavailable
        return {name: self.values[name] for name in names if name in self.values}

    async def drop_meta(self, start: str, end: str) -> None:
        if self.lookups < self.failures:
            raise BackendUnavailable
        for name in [name for name in self.values if start <= name < end]:
            del self.values[name]
