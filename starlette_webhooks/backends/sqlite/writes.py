"""Writes on their way into a transaction, and the batch that shares one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import anyio

from starlette_webhooks.exceptions import EngineUnavailable

__all__ = ["Batch", "Write"]

T = TypeVar("T")
Connection = sqlite3.Connection


class Batch:
    """The writes of one transaction, and who waits for it."""

    __slots__ = ("_event", "finished", "size", "writes")

    def __init__(self) -> None:
        self.writes: list[Write[Any]] = []
        self.size = 0
        self.finished = False
        self._event: anyio.Event | None = None

    async def wait(self) -> None:
        if not self.finished:
            if self._event is None:
                self._event = anyio.Event()
            await self._event.wait()

    def finish(self) -> None:
        self.finished = True
        # They hold this batch, too. Without the cycle, nothing of a commit waits for the garbage collector.
        self.writes = []
        if self._event is not None:
            self._event.set()


class Write(Generic[T]):
    """A function on its way into a transaction."""

    __slots__ = ("_batch", "error", "fn", "result")

    def __init__(self, fn: Callable[[Connection], T], batch: Batch) -> None:
        self.fn = fn
        self._batch = batch
        self.result: T | None = None
        self.error: Exception | None = None

    @property
    def finished(self) -> bool:
        """Whether `wait` would return or raise at once."""
        return self._batch.finished

    async def wait(self) -> T:
        """Wait for the commit. Returns what the function returned; raises what it raised, or `EngineUnavailable`."""
        await self._batch.wait()
        if self.error is None:
            return self.result  # type: ignore[return-value]
        if isinstance(self.error, sqlite3.Error):
            raise EngineUnavailable(f"The database cannot be written: {self.error}.") from self.error
        raise self.error
