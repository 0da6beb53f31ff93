"""Writes that wait for their commit, and the batches that are committed together. All stores share this code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.waiting import Gate

__all__ = ["Batch", "Submitted", "SupportsEvents", "Write"]

T = TypeVar("T")


class Batch:
    """Writes that are committed together.

    Attributes:
        started: When its first write arrived, by `time.monotonic()`.
        committed: Opens when the transaction has ended. Wait for it on the event loop only, and before `finished`.
    """

    __slots__ = ("committed", "finished", "size", "started", "writes")

    def __init__(self, committed: Gate) -> None:
        self.writes: list[Write[Any]] = []
        self.size = 0
        self.started = 0.0
        self.finished = False
        self.committed = committed

    def finish(self) -> None:
        """Note that the transaction has ended."""
        self.finished = True
        # They refer to this batch, too. Without the cycle, no commit needs the garbage collector.
        self.writes = []
        self.committed.set()


class Write(Generic[T]):
    """An operation that waits for its commit in a store."""

    __slots__ = ("_batch", "error", "operation", "result")

    def __init__(self, operation: Any, batch: Batch) -> None:
        self.operation = operation
        self._batch = batch
        self.result: Any = None
        """What the operation returned."""
        self.error: Exception | None = None

    @property
    def finished(self) -> bool:
        """Whether `wait` would return or raise immediately."""
        return self._batch.finished

    @property
    def failed(self) -> bool:
        """Whether `wait` would raise immediately."""
        return self.error is not None

    async def wait(self) -> T:
        """Wait for the commit and return the operation's result. Raises its error, or `BackendUnavailable`."""
        if not self._batch.finished:
            await self._batch.committed.wait()
        if self.error is not None:
            _raise(self.error)
        result: T = self.result
        return result


def _raise(error: Exception) -> NoReturn:
    # The writes of a batch share an error, and every `raise` would extend its traceback.
    if isinstance(error, BackendUnavailable):
        raise BackendUnavailable(str(error)) from error
    raise error


class SupportsEvents(Protocol):
    """The result of an operation that stores events."""

    @property
    def events(self) -> Sequence[Event]:
        """Return the events as stored."""


class Submitted(Write[Sequence[Event]]):
    """Events that wait for their commit: the `Submission` of stores."""

    __slots__ = ()

    async def wait(self) -> Sequence[Event]:
        """See `Submission.wait`."""
        # Not through `Write.wait`: every emitting request waits here, and each coroutine costs memory.
        if not self._batch.finished:
            await self._batch.committed.wait()
        if self.error is not None:
            _raise(self.error)
        result: SupportsEvents = self.result
        return result.events
