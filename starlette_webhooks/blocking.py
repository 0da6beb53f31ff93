"""A blocking emitter, for workers and scripts without an event loop: Celery, RQ, Dramatiq, cron."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from starlette_webhooks.events import Event
from starlette_webhooks.exceptions import NotRunning

if TYPE_CHECKING:
    from starlette_webhooks.emissions import NewEvent
    from starlette_webhooks.emitter import Emitter
    from starlette_webhooks.types import EventData, TenantId, TypedData

__all__ = ["BlockingEmitter"]


class BlockingEmitter:
    """Emits events and waits for them, without `await`. Enter it once per process: it runs `Webhooks` in a thread.

    Any thread of the process may call it. A forked child has to enter one of its own.

    Args:
        lifespan: Creates the lifespan of `Webhooks`.
        emitter: The emitter for code outside requests.
    """

    def __init__(self, lifespan: Callable[[], AbstractAsyncContextManager[None]], emitter: Emitter) -> None:
        self._lifespan = lifespan
        self._emitter = emitter
        self._entered: tuple[int, BlockingPortal, ExitStack] | None = None

    def __enter__(self) -> Self:
        """Start `Webhooks`.

        Raises:
            BackendUnavailable: The database cannot be opened.
            RuntimeError: It is already entered.
        """
        if self._entered is not None and self._entered[0] == os.getpid():
            raise RuntimeError("This emitter is already entered. Enter it once per process.")
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self._lifespan()))
            self._entered = os.getpid(), portal, stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop `Webhooks`, once everything that was emitted is durable. In a forked child, does nothing."""
        entered, self._entered = self._entered, None
        if entered is not None and entered[0] == os.getpid():
            entered[2].close()

    def send(
        self,
        event_type: str | TypedData,
        data: EventData | None = None,
        *,
        tenant: TenantId | None = None,
        event_id: str | None = None,
        channels: Sequence[str] = (),
    ) -> Event:
        """Emit an event and return it once the backend has accepted it. Arguments and errors as for `Emitter.send`.

        Raises:
            NotRunning: It is not entered in this process.
        """
        portal = self._portal
        send: Callable[..., object] = self._emitter.send
        options = {"tenant": tenant, "event_id": event_id, "channels": channels}
        event = portal.call(partial(send, event_type, data, **options))
        assert isinstance(event, Event)
        return event

    def send_many(self, events: Iterable[NewEvent | tuple[str, EventData] | TypedData]) -> Sequence[Event]:
        """Emit several events in one commit, and return them once the backend has accepted them.

        Arguments and errors as for `Emitter.send_many` and `send`.
        """
        return self._portal.call(self._emitter.send_many, events)

    @property
    def _portal(self) -> BlockingPortal:
        entered = self._entered
        if entered is None or entered[0] != os.getpid():
            raise NotRunning(
                "This emitter is not entered in this process. Enter it once per process, also in each forked worker: "
                "`with webhooks.blocking() as emitter:`."
            )
        return entered[1]
