"""A lifespan that several tasks share. The first one to enter opens it, and the last one to leave closes it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
from anyio.lowlevel import current_token

from starlette_webhooks.exceptions import NotRunning
from starlette_webhooks.forks import call_in_children
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.waiting import running_loop

__all__ = ["SharedLifespan"]

logger = logging.getLogger("starlette_webhooks")


class _Run:
    """A run, from the first entry to the last exit."""

    def __init__(self) -> None:
        self.loop = current_token().native_token
        self.entered = 0
        self.opened = False
        self.closing = False
        self.error: Exception | None = None
        self.opening = anyio.CancelScope()
        self.ready = anyio.Event()
        self.stop = anyio.Event()
        self.ended = anyio.Event()


class SharedLifespan:
    """Enters a context manager once for any number of tasks of one event loop.

    The context manager is entered in a separate task. Tasks may therefore leave in any order, an error in it ends no
    task of the host, and errors of the host are raised unchanged.

    Args:
        open: Creates the context manager. Called again for a new run after all tasks have left.
    """

    def __init__(self, open: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        self._open = open
        self._run: _Run | None = None
        self.error: Exception | None = None
        """The error that ended the last run before all tasks had left, or None."""
        call_in_children(self)

    @property
    def running(self) -> bool:
        """Whether the lifespan is open and not about to close."""
        run = self._run
        return run is not None and run.opened and not run.closing

    def after_fork(self) -> None:
        """Reset the state in a forked child, where nothing runs. The child may enter the lifespan itself."""
        self._run = None

    @asynccontextmanager
    async def entered(self) -> AsyncGenerator[None]:
        """Keep the lifespan open for the block.

        Raises:
            RuntimeError: The lifespan is open in another event loop.
        """
        run = await self._enter()
        try:
            yield
        except BaseException:
            await self._leave(run)
            if run.error is not None and run.closing:
                fields = log_fields("webhooks.not_closed")
                logger.error("Webhooks could not be closed properly.", exc_info=run.error, extra=fields)
            raise
        await self._leave(run)
        if run.error is not None and run.closing:
            raise run.error

    async def _enter(self) -> _Run:
        while (run := self._run) is not None:
            if run.loop is not current_token().native_token:
                raise RuntimeError(
                    "`Webhooks` runs in another event loop. Create one `Webhooks` per event loop. To emit from other "
                    "threads, do not enter `lifespan()` again."
                )
            if not run.closing:
                break
            await run.ended.wait()
        else:
            run = self._run = _Run()
            self.error = None
            running_loop().spawn(self._host, run)
        run.entered += 1
        try:
            await run.ready.wait()
        except BaseException:
            await self._leave(run)
            raise
        if not run.opened:
            await self._leave(run)
            # If the event loop is ending and has cancelled the run, there is no error.
            raise run.error or NotRunning
        return run

    async def _leave(self, run: _Run) -> None:
        run.entered -= 1
        if run.entered:
            return
        run.closing = run.closing or not run.ended.is_set()
        run.stop.set()
        if not run.opened:
            run.opening.cancel()
        # The last task may be cancelled, and must not leave before everything is closed.
        with anyio.CancelScope(shield=True):
            await run.ended.wait()

    async def _host(self, run: _Run) -> None:
        try:
            with run.opening:
                async with self._open():
                    run.opened = True
                    run.ready.set()
                    await run.stop.wait()
        except Exception as exc:
            run.error = exc
            if run.opened and not run.closing:
                self.error = exc
                fields = log_fields("webhooks.ended")
                logger.critical("Webhooks ended unexpectedly. Restart the process.", exc_info=exc, extra=fields)
        finally:
            if self._run is run:  # pragma: no branch  A forked child resets it.
                self._run = None
            run.ready.set()
            run.ended.set()
