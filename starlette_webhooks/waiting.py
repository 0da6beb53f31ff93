"""Where tasks wait until they are woken: the cheapest way that each event loop has.

A bare future costs a half of `anyio.Event` and a tenth of a memory stream, for each wake of each stream and of each
request that waits for its commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import anyio
from anyio.lowlevel import current_token

__all__ = ["Gate", "Waiter", "gates", "waiters", "scheduler"]


class Waiter(Protocol):
    """A place for one task at a time."""

    def wait(self) -> Awaitable[object]:
        """Wait until `wake` is called."""

    def wake(self) -> None:
        """Let the waiting task go on, if there is one. Keeps nothing for later; called on the event loop."""


class Gate(Protocol):
    """A place for any number of tasks, until it is opened for good."""

    def wait(self) -> Awaitable[object]:
        """Wait until `set` is called. Not after it."""

    def set(self) -> object:
        """Let all go on; called on the event loop, once."""


class _FutureWaiter:
    """A bare future of the `asyncio` loop."""

    __slots__ = ("_create", "_future")

    def __init__(self, create: Callable[[], Any]) -> None:
        self._create = create
        self._future: Any = None

    def wait(self) -> Awaitable[object]:
        # The future itself: a coroutine around it would cost as much again.
        future: Awaitable[object] = self._create()
        self._future = future
        return future

    def wake(self) -> None:
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)


class _TrioWaiter:
    """A task that Trio reschedules."""

    __slots__ = ("_lowlevel", "_task")

    def __init__(self, lowlevel: Any) -> None:
        self._lowlevel = lowlevel
        self._task: Any = None

    async def wait(self) -> None:
        self._task = self._lowlevel.current_task()
        await self._lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _: Any) -> Any:
        self._task = None
        return self._lowlevel.Abort.SUCCEEDED

    def wake(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            self._lowlevel.reschedule(task)


class _FutureGate:
    """A bare future for each task, so that to cancel one of them means nothing to the others."""

    __slots__ = ("_create", "_futures")

    def __init__(self, create: Callable[[], Any]) -> None:
        self._create = create
        self._futures: list[Any] = []

    def wait(self) -> Awaitable[object]:
        future: Awaitable[object] = self._create()
        self._futures.append(future)
        return future

    def set(self) -> None:
        for future in self._futures:
            if not future.done():
                future.set_result(None)


def waiters() -> Callable[[], Waiter]:
    """Makes waiters for the running event loop."""
    loop: Any = current_token().native_token
    if hasattr(loop, "create_future"):
        create = loop.create_future
        return lambda: _FutureWaiter(create)
    from trio import lowlevel

    return lambda: _TrioWaiter(lowlevel)


def gates() -> Callable[[], Gate]:
    """Makes gates for the running event loop."""
    loop: Any = current_token().native_token
    if hasattr(loop, "create_future"):
        create = loop.create_future
        return lambda: _FutureGate(create)
    return anyio.Event


def scheduler() -> Callable[[Callable[[], object]], object]:
    """Schedules calls on the running event loop, from any thread and from signal handlers."""
    loop: Any = current_token().native_token
    schedule: Callable[[Callable[[], object]], object] = (
        getattr(loop, "run_sync_soon", None) or loop.call_soon_threadsafe
    )
    return schedule
