"""Task groups that raise plain errors, long-lived tasks, and concurrent calls."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskGroup

from starlette_webhooks.exceptions import BackendUnavailable, WebhooksError
from starlette_webhooks.log_fields import log_fields

__all__ = ["Turns", "each", "keep_running", "run_in_thread", "running_beside", "task_group"]

logger = logging.getLogger("starlette_webhooks")

T = TypeVar("T")
R = TypeVar("R")


class Turns:
    """Lets so many callers run at a time for each tenant, in order of arrival. Tenants do not wait for each other."""

    def __init__(self, at_once: int = 1) -> None:
        self._at_once = at_once
        self._semaphores: dict[str, anyio.Semaphore] = {}

    def __len__(self) -> int:
        return len(self._semaphores)

    def of(self, tenant: str) -> AbstractAsyncContextManager[None]:
        """Wait for a turn of this tenant, and have it until the block ends."""
        return _Turn(self, tenant)

    async def take(self, tenant: str) -> None:
        """Wait for a turn. See `of`."""
        semaphore = self._semaphores.get(tenant)
        if semaphore is None:
            # Without `fast_acquire`, a caller that need not wait would still wait for a turn of the loop.
            semaphore = self._semaphores[tenant] = anyio.Semaphore(self._at_once, fast_acquire=True)
        try:
            await semaphore.acquire()
        except BaseException:
            self._forget_unused(tenant)
            raise

    def give_back(self, tenant: str) -> None:
        """End a turn."""
        self._semaphores[tenant].release()
        self._forget_unused(tenant)

    def _forget_unused(self, tenant: str) -> None:
        # Several callers may be cancelled together.
        semaphore = self._semaphores.get(tenant)
        if semaphore is not None and semaphore.value == self._at_once:
            del self._semaphores[tenant]


class _Turn(AbstractAsyncContextManager[None]):
    # Thousands of streams have one when they open, where a generator would cost more.
    __slots__ = ("_tenant", "_turns")

    def __init__(self, turns: Turns, tenant: str) -> None:
        self._turns = turns
        self._tenant = tenant

    async def __aenter__(self) -> None:
        await self._turns.take(self._tenant)

    async def __aexit__(self, *_: object) -> None:
        self._turns.give_back(self._tenant)


@asynccontextmanager
async def task_group() -> AsyncGenerator[TaskGroup]:
    """A task group that raises plain errors instead of an `ExceptionGroup`.

    The error of the block takes precedence over errors of tasks. The first error is raised. Other errors are logged if
    they are unexpected.
    """
    failures: list[Exception] = []
    try:
        async with anyio.create_task_group() as tasks:
            try:
                yield tasks
            except Exception as exc:
                # Raised outside the group, which would wrap it.
                failures.append(exc)
                tasks.cancel_scope.cancel()
    except ExceptionGroup as group:
        failures.extend(group.exceptions)
    for other in failures[1:]:
        if not isinstance(other, WebhooksError):
            fields = log_fields("task.failed")
            logger.error("Another task of the same group also failed.", exc_info=other, extra=fields)
    try:
        if failures:
            raise failures[0]
    finally:
        # The traceback refers to this frame. Without the cycle, nothing waits for the garbage collector.
        failures.clear()


@asynccontextmanager
async def running_beside(*functions: Callable[[], Coroutine[Any, Any, None]]) -> AsyncGenerator[TaskGroup]:
    """Run long-lived tasks until the block ends, then cancel them. See `keep_running` and `task_group`."""
    async with task_group() as tasks:
        for function in functions:
            tasks.start_soon(keep_running, function, name=_name(function))
        try:
            yield tasks
        finally:
            tasks.cancel_scope.cancel()


async def keep_running(
    function: Callable[[], Awaitable[None]],
    *,
    pause: float = 1.0,
    longest_pause: float = 30.0,
    sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
) -> None:
    """Run a long-lived task. If it fails, log the error, pause, and run it again.

    An unexpected error, such as a moment without a free thread or memory, must not end a task or the tasks beside it:
    the process would continue without delivering anything.

    Args:
        pause: Seconds before the first restart. It doubles with each failure, up to `longest_pause`.
        sleep: Waits for a number of seconds. Tests replace it.
    """
    next_pause = pause
    while True:
        started = anyio.current_time()
        try:
            return await function()
        except Exception:
            if anyio.current_time() - started > longest_pause:
                next_pause = pause
            name = _name(function)
            fields = log_fields("task.failed", task=name)
            logger.exception("The task %s failed. It starts again in %g s.", name, next_pause, extra=fields)
        await sleep(next_pause)
        next_pause = min(2 * next_pause, longest_pause)


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", repr(function))


async def each(items: Sequence[T], function: Callable[[T], Awaitable[R]], *, at_once: int = 8) -> list[R]:
    """Call the function for all items concurrently, and return the results in order. The first error is raised."""
    results: dict[int, R] = {}
    limiter = CapacityLimiter(at_once)

    async def run(index: int, item: T) -> None:
        async with limiter:
            results[index] = await function(item)

    async with task_group() as tasks:
        for index, item in enumerate(items):
            tasks.start_soon(run, index, item)
    return [results[index] for index in range(len(items))]


async def run_in_thread(function: Callable[..., T], *args: Any, limiter: CapacityLimiter) -> T:
    """Call a blocking function in a thread.

    Raises:
        BackendUnavailable: The system refuses to start another thread, for example because of a limit of processes.
    """
    try:
        return await to_thread.run_sync(function, *args, limiter=limiter)
    except RuntimeError as exc:
        if "start new thread" not in str(exc):
            raise
        raise BackendUnavailable("The system refuses to start another thread.") from exc
