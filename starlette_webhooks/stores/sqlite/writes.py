"""Writes on their way into a transaction, and the batch that shares one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.waiting import Gate

__all__ = ["Batch", "Joint", "Submitted", "SupportsEvents", "Write"]

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


class Batch:
    """The writes of one transaction, and who waits for it.

    Attributes:
        committed: Opened when the transaction has ended. To wait for on the event loop only, and before `finished`.
    """

    __slots__ = ("committed", "finished", "size", "writes")

    def __init__(self, committed: Gate) -> None:
        self.writes: list[Write[Any]] = []
        self.size = 0
        self.finished = False
        self.committed = committed

    def finish(self) -> None:
        """The transaction has ended."""
        self.finished = True
        # They hold this batch, too. Without the cycle, nothing of a commit waits for the garbage collector.
        self.writes = []
        self.committed.set()


class Write(Generic[T]):
    """A function on its way into a transaction."""

    __slots__ = ("_batch", "error", "fn", "result")

    def __init__(self, fn: Callable[[Connection], Any], batch: Batch) -> None:
        self.fn = fn
        self._batch = batch
        self.result: Any = None
        """What the function returned."""
        self.error: Exception | None = None

    @property
    def finished(self) -> bool:
        """Whether `wait` would return or raise at once."""
        return self._batch.finished

    @property
    def failed(self) -> bool:
        """Whether `wait` would raise at once."""
        return self.error is not None

    async def wait(self) -> T:
        """Wait for the commit. Returns what the function returned; raises what it raised, or `BackendUnavailable`."""
        if not self._batch.finished:
            await self._batch.committed.wait()
        if self.error is not None:
            self._raise(self.error)
        result: T = self.result
        return result

    def _raise(self, error: Exception) -> None:
        if isinstance(error, sqlite3.Error):
            raise BackendUnavailable(f"The database cannot be written: {error}.") from error
        raise error


class SupportsEvents(Protocol):
    """What a function that stores events returns."""

    @property
    def events(self) -> Sequence[Event]:
        """The events as stored."""


class Submitted(Write[Sequence[Event]]):
    """Events on their way into the database: the `Submission` of the engines that keep them there."""

    __slots__ = ()

    async def wait(self) -> Sequence[Event]:
        """See `Submission.wait`."""
        # Not by way of `Write.wait`: every emitting request waits here, and holds its coroutines meanwhile.
        if not self._batch.finished:
            await self._batch.committed.wait()
        if self.error is not None:
            self._raise(self.error)
        result: SupportsEvents = self.result
        return result.events
