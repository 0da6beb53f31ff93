"""Several calls at once, whose first failure is raised as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio
from anyio import CapacityLimiter

from starlette_webhooks.exceptions import WebhooksError

__all__ = ["each"]

T = TypeVar("T")
R = TypeVar("R")


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
