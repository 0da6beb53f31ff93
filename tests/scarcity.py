"""A process that lacks something: descriptors or threads."""

from __future__ import annotations

import os
import resource
import threading
import traceback
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import anyio
import pytest
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import checkpoint


@contextmanager
def no_free_descriptors() -> Generator[None]:
    """Let the process open no file and no socket until the block ends."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, limits[1]))
    try:
        while True:
            try:
                fillers.append(os.dup(fillers[0]))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for filler in fillers:
            os.close(filler)


@contextmanager
def no_free_threads() -> Generator[None]:
    """Let the process start no thread until the block ends, as a limit of the system would."""

    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        # AnyIO's test runner drives trio in guest mode, which waits for events in a thread and hangs without one.
        # Everything runs below `guest_tick`, so only the nearest callers count.
        if any(frame.name == "guest_tick" for frame in traceback.extract_stack(limit=6)):
            return start(self)
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


@asynccontextmanager
async def no_idle_threads() -> AsyncGenerator[None]:
    """Let the process start no thread, and keep those busy that the event loop has, until the block ends."""
    release, refused = threading.Event(), anyio.Event()
    limiter = CapacityLimiter(1000)

    async def occupy() -> None:
        try:
            await to_thread.run_sync(release.wait, limiter=limiter)
        except RuntimeError:
            refused.set()

    async with anyio.create_task_group() as tasks:
        with no_free_threads():
            while not refused.is_set():
                tasks.start_soon(occupy)
                await checkpoint()
            try:
                yield
            finally:
                release.set()
