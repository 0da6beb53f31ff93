"""Writes on their way into a store, and the batch that is committed together. The same for all stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.waiting import Gate

__all__ = ["Batch", "Submitted", "SupportsEvents", "Write"]

T = TypeVar("T")


class Batch:
    """The writes that are committed together, and who waits for it.

    Attributes:
        started: When its first write came, by `time.monotonic()`.
        committed: Opened when the transaction has ended. To wait for on the event loop only, and before `finished`.
    """

    __slots__ = ("committed", "finished", "size", "started", "writes")

    def __init__(self, committed: Gate) -> None:
        self.writes: list[Write[Any]] = []
        self.size = 0
        self.started = 0.0
        self.finished = False
        self.committed = committed

    def finish(self) -> None:
        """The transaction has ended."""
        self.finished = True
        # They hold this batch, too. Without the cycle, nothing of a commit waits for the garbage collector.
        self.writes = []
        self.committed.set()


class Write(Generic[T]):
    """An operation on its way into a store, which knows what to do with it."""

    __slots__ = ("_batch", "error", "operation", "result")

    def __init__(self, operation: Any, batch: Batch) -> None:
        self.operation = operation
        self._batch = batch
        self.result: Any = None
        """What the operation returned."""
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
        """Wait for the commit. Returns what the operation returned; raises what it raised, or `BackendUnavailable`."""
        if not self._batch.finished:
            await self._batch.committed.wait()
        if self.error is not None:
            _raise(self.error)
        result: T = self.result
        return result


def _raise(error: Exception) -> NoReturn:
    # The writes of a batch share an error, and each that is raised collects a traceback.
    if isinstance(error, BackendUnavailable):
        raise BackendUnavailable(str(error)) from error
    raise error


class SupportsEvents(Protocol):
    """What an operation that stores events returns."""

    @property
    def events(self) -> Sequence[Event]:
        """The events as stored."""


class Submitted(Write[Sequence[Event]]):
    """Events on their way into the database: the `Submission` of the stores that keep them there."""

    __slots__ = ()

    async def wait(self) -> Sequence[Event]:
        """See `Submission.wait`."""
        # Not by way of `Write.wait`: every emitting request waits here, and holds its coroutines meanwhile.
        if not self._batch.finished:
            await self._batch.committed.wait()
        if self.error is not None:
            _raise(self.error)
        result: SupportsEvents = self.result
        return result.events
