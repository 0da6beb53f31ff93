"""Waits for results of other tasks, threads and processes."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, overload

import anyio

T = TypeVar("T")


@overload
async def eventually(condition: Callable[[], Awaitable[T | None]], *, within: float = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T | None], *, within: float = ...) -> T: ...
async def eventually(condition: Callable[[], Any], *, within: float = 8) -> Any:
    """Return what the condition returns, once that is true."""
    with anyio.fail_after(within):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await anyio.sleep(0.005)


def wait_for(condition: Callable[[], T], timeout: float = 10, log: Path | None = None) -> T:
    """Return the condition's result once it is true. For tests without an event loop."""
    end = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"Nothing came within {timeout} s." + ("" if log is None else f"\n{log.read_text()}"))
        time.sleep(0.02)
