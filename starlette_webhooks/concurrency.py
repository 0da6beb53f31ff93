"""Tasks that run beside a block, and calls that run at the same time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter
from anyio.abc import TaskGroup

from starlette_webhooks.exceptions import WebhooksError

__all__ = ["each", "running_beside"]

T = TypeVar("T")
R = TypeVar("R")


@asynccontextmanager
async def running_beside(*functions: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[TaskGroup]:
    """Run functions as tasks until the block ends, then cancel them. The block may start others in the group.

    An error of the block comes out as it is, where a task group would wrap it: it is the host's own.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        for function in functions:
            tasks.start_soon(function)
        try:
            yield tasks
        except Exception as exc:
            failure = exc
        finally:
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def each(items: Sequence[T], function: Callable[[T], Awaitable[R]], *, at_once: int = 8) -> list[R]:
    """What the function returns for each item, in their order. The first `WebhooksError` ends it all."""
    results: dict[int, R] = {}
    errors: list[WebhooksError] = []
    limiter = CapacityLimiter(at_once)

    async def run(index: int, item: T) -> None:
        async with limiter:
            try:
                results[index] = await function(item)
            except WebhooksError as exc:
                errors.append(exc)
                tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for index, item in enumerate(items):
            tasks.start_soon(run, index, item)
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(items))]
