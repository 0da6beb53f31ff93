"""The thread that commits. Writes that arrive during a commit form the next batch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

import anyio

from starlette_webhooks.exceptions import NotRunning, QueueFull
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.stores.writes import Batch, Write
from starlette_webhooks.waiting import running_loop

__all__ = ["Writer"]

logger = logging.getLogger("starlette_webhooks")

W = TypeVar("W", bound=Write[Any])

_JOIN_TURNS = 4
_JOIN_SECONDS = 0.005
_PAUSE = 0.1
_IN_CHILD = (
    "`Webhooks` does not run in this process, which was forked from a process in which it runs. Enter "
    "`async with webhooks.lifespan():` here, or emit in the parent."
)


class Writer:
    """Collects writes into batches, and commits one batch at a time on its own thread.

    A batch goes to the thread at the end of the event loop's turn in which its first write arrived, so that the other
    writes of the turn join it. After a commit of several writes, the callers get a few turns to submit their next write
    before the next batch goes. Otherwise two groups of callers would alternate forever, with two fsyncs instead of one,
    and the loop and the thread would compete for the interpreter.

    Args:
        commit: Commits a batch. Runs on the thread, and stores errors in the writes.
        max_writes: The maximum of waiting writes.
        max_bytes: The maximum of the sum of their sizes.
    """

    def __init__(self, commit: Callable[[Batch], None], *, max_writes: int, max_bytes: int) -> None:
        self._commit = commit
        self.max_writes = max_writes
        self.max_bytes = max_bytes
        self.on_commit: list[Callable[[Sequence[Write[Any]]], None]] = []
        self._mutex = threading.Lock()
        self._waiting_writes = 0
        self._waiting_bytes = 0
        self._open = self._forked = False
        self._resting = True
        """Whether no commit is scheduled or running, and no write waits. The next write then schedules one."""

    # On the event loop's thread

    def start(self) -> None:
        """Accept writes from now on."""
        loop = running_loop()
        self._soon, self._soon_threadsafe = loop.call_soon, loop.call_soon_threadsafe
        self._loop_thread = threading.get_ident()
        self._new_gate = loop.gate
        self._pending = Batch(self._new_gate())
        self._stopped, self._ended = anyio.Event(), anyio.Event()
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="starlette_webhooks-writer", daemon=True)
        self._thread.start()
        self._resting, self._waiting_writes, self._waiting_bytes = True, 0, 0
        self._open, self._forked = True, False

    async def stop(self, last: Callable[[], None]) -> None:
        """Stop accepting writes, and return once all are committed.

        Args:
            last: Called on the thread before it ends.
        """
        with self._mutex:
            self._open = False
            idle = self._resting
        if not idle:
            await self._stopped.wait()
        self._last = last
        self._batches.put(None)
        await self._ended.wait()
        self._thread.join()

    def after_fork(self) -> None:
        """Reset the state in a forked child, which has no thread. A missing thread may hold the lock."""
        self._mutex = threading.Lock()
        self._open, self._forked = False, True

    def _commit_pending(self) -> None:
        """Give the pending batch to the thread. Without writes, rest until there is one.

        While the writer does not rest, exactly one call of this is ahead: `submit` schedules the first one, and each
        `_finish` the next. The thread therefore has one batch at most, and `stop` can wait for the end of the last one.
        """
        with self._mutex:
            batch = self._pending
            self._resting = not batch.writes
            if not self._resting:
                self._pending = Batch(self._new_gate())
        if not self._resting:
            self._batches.put(batch)
        elif not self._open:
            self._stopped.set()

    def _finish(self, batch: Batch) -> None:
        writes = batch.writes
        with self._mutex:
            self._waiting_writes -= len(writes)
            self._waiting_bytes -= batch.size
            alone = len(writes) == 1 and not self._pending.writes
        # Listeners are notified of the commit before waiting callers continue.
        for callback in self.on_commit:
            try:
                callback(writes)
            except Exception:
                logger.exception("A listener of commits failed.", extra=log_fields("listener.failed"))
        batch.finish()
        if alone or not self._open:
            self._commit_pending()
        else:
            self._join(_JOIN_TURNS, time.monotonic() + _JOIN_SECONDS)

    def _join(self, turns: int, until: float) -> None:
        if turns and time.monotonic() < until:
            self._soon(self._join, turns - 1, until)
        else:
            self._commit_pending()

    # On any thread

    @property
    def on_loop(self) -> bool:
        """Return whether the caller is on the thread of the event loop while the writer is running."""
        return self._open and threading.get_ident() == self._loop_thread

    def call_soon(self, fn: Callable[[], None]) -> None:
        """Call a function on the event loop, from any thread. On the loop's own thread, it is called directly.

        Does nothing if the loop has ended, or in a forked child.
        """
        if self._forked:
            return
        if threading.get_ident() == self._loop_thread:
            fn()
        else:
            with suppress(RuntimeError):
                self._soon_threadsafe(fn)

    def submit(self, kind: type[W], operation: Any, size: int, bounded: bool) -> W:
        """Accept a write of that kind. Thread-safe, and never blocks.

        Args:
            size: Bytes that it occupies while it waits.
            bounded: False to accept it even if too many wait.

        Raises:
            NotRunning: Before `start` and after `stop`.
            QueueFull: Too many writes or bytes wait.
        """
        with self._mutex:
            if not self._open:
                raise NotRunning(_IN_CHILD if self._forked else None)
            if bounded and (
                self._waiting_writes >= self.max_writes
                or (self._waiting_bytes + size > self.max_bytes and self._waiting_bytes)
            ):
                raise QueueFull
            self._waiting_writes += 1
            self._waiting_bytes += size
            batch = self._pending
            if not batch.writes:
                batch.started = time.monotonic()
            write = kind(operation, batch)
            batch.writes.append(write)
            batch.size += size
            resting, self._resting = self._resting, False
        if resting:
            soon = self._soon if threading.get_ident() == self._loop_thread else self._soon_threadsafe
            soon(self._commit_pending)
        return write

    # On its own thread

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                self._commit(batch)
            except BaseException as exc:
                fields = log_fields("commit.failed")
                logger.exception("The thread that commits had an unexpected error.", extra=fields)
                for write in batch.writes:
                    write.error = write.error or RuntimeError(f"The write was not made: {exc!r}.")
            if not self._tell_loop(self._finish, batch):  # pragma: no cover  Only if a loop leaves its tasks behind.
                return
        try:
            self._last()
        except Exception:
            logger.exception("The database could not be closed properly.", extra=log_fields("database.not_closed"))
        self._tell_loop(self._ended.set)

    def _tell_loop(self, fn: Callable[..., object], *args: object) -> bool:
        """Call a function on the loop. Returns False if the loop was closed, in which case no caller waits."""
        while True:
            try:
                self._soon_threadsafe(fn, *args)
            except MemoryError:  # pragma: no cover  No test can use all memory.
                # Waiting callers must be notified, sooner or later.
                time.sleep(_PAUSE)
            except RuntimeError:  # pragma: no cover  Only if a loop leaves its tasks behind.
                return False
            else:
                return True
