"""Shows how far `listen` is behind, while it forwards events from before it was started, or from while it waited."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from starlette_webhooks.cli.output import Output, counted, duration
from starlette_webhooks.client import ClientError, Event
from starlette_webhooks.types import Clock

__all__ = ["CatchingUp"]

_BEHIND = 30.0


class CatchingUp:
    """A line below the output: how many events were forwarded, and how far the last one is. On terminals only.

    Args:
        newest: Returns the last event to forward.
        now: Seconds since the epoch.
        monotonic: Seconds of a monotonic clock.
    """

    def __init__(
        self,
        output: Output,
        newest: Callable[[], Event | None],
        *,
        now: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self._output = output
        self._newest = newest
        self._now = now
        self._monotonic = monotonic
        self._target: Event | None = None
        self._count = 0
        self._began = 0.0
        self._asked = -math.inf

    def forwarding(self, event: Event) -> None:
        """Note that an event is about to be forwarded."""
        if self._target is None and self._may_be_behind(event):
            self._count, self._began = 0, self._monotonic()
            self._look_ahead(event)
        if self._target is not None:
            behind = duration(_seconds(event, self._target))
            self._output.status(f"Catching up: {counted(self._count, 'event')} forwarded, {behind} behind.")

    def forwarded(self, event: Event) -> None:
        """Note that an event was forwarded."""
        if self._target is None:
            return
        self._count += 1
        if event.id < self._target.id:
            return
        # Others may have been emitted meanwhile.
        self._look_ahead(event)
        if self._target is None:
            self._output.status("")
            took = duration(self._monotonic() - self._began)
            self._output.note(f"Caught up: {counted(self._count, 'event')} in {took}.")

    def _may_be_behind(self, event: Event) -> bool:
        # If the clock of this machine is wrong, every event looks old.
        return (
            self._output.shows_status
            and self._now() - event.timestamp.timestamp() > _BEHIND
            and self._monotonic() - self._asked > _BEHIND
        )

    def _look_ahead(self, event: Event) -> None:
        self._asked = self._monotonic()
        try:
            newest = self._newest()
        except ClientError:
            # If it persists, the stream reports it.
            newest = None
        self._target = None if newest is None or _seconds(event, newest) <= _BEHIND else newest


def _seconds(event: Event, later: Event) -> float:
    return (later.timestamp - event.timestamp).total_seconds()
