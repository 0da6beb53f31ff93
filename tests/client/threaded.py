"""`SyncClient` with the methods of `Client`, so that one test runs with both. Each call runs in a thread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, Generic, Self, TypeVar

from anyio import to_thread

from starlette_webhooks.client import SyncClient

__all__ = ["Threaded"]

T = TypeVar("T")
_END = object()


class Threaded:
    """Calls a `SyncClient` in threads."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        await to_thread.run_sync(self._client.close)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            if name in ("list", "endpoints", "attempts", "stream"):
                return ThreadedIterator(method(*args, **options))
            return to_thread.run_sync(partial(method, *args, **options))

        return call


class ThreadedIterator(AsyncIterator[T], Generic[T]):
    """Calls a sync iterator in threads."""

    def __init__(self, iterator: Iterator[T]) -> None:
        self._iterator = iterator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)

    async def __anext__(self) -> T:
        item: Any = await to_thread.run_sync(next, self._iterator, _END)
        if item is _END:
            raise StopAsyncIteration
        found: T = item
        return found

    async def aclose(self) -> None:
        await to_thread.run_sync(self._iterator.close)  # type: ignore[attr-defined]

    async def __aenter__(self) -> Self:
        await to_thread.run_sync(self._iterator.__enter__)  # type: ignore[attr-defined]
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.aclose()
