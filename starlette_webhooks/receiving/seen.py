"""Which webhooks have been handled."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum, auto
from typing import Protocol

__all__ = ["MemorySeenIds", "SeenIds", "SeenState"]


class SeenState(Enum):
    """What is known of a webhook."""

    NEW = auto()
    """It is to be handled now."""
    RUNNING = auto()
    """Another request handles it."""
    HANDLED = auto()
    """It has been handled."""


class SeenIds(Protocol):
    """Remembers the ids of webhooks. All processes that receive the same webhooks must share one."""

    async def begin(self, identifier: str, *, now: float, until: float) -> SeenState:
        """Return the state of a webhook. A new one counts as running until a time, in case the process is killed.

        Of several callers at the same time, one gets `SeenState.NEW`.

        Args:
            identifier: The id of the webhook.
            now: The time, in seconds since the epoch, as `until`.
        """

    async def finish(self, identifier: str, *, until: float) -> None:
        """Note that the webhook with this identifier has been handled, and remember it until a time."""

    async def forget(self, identifier: str) -> None:
        """Note that handling the webhook with this identifier failed, so that its sender's next attempt is handled."""


class MemorySeenIds:
    """Remembers ids in memory. For one process, and until it ends.

    Args:
        most: The maximum number of ids. The oldest are forgotten first.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._known: OrderedDict[str, tuple[SeenState, float]] = OrderedDict()

    async def begin(self, identifier: str, *, now: float, until: float) -> SeenState:
        """See `SeenIds.begin`."""
        state, expires = self._known.get(identifier, (SeenState.NEW, now))
        if now < expires:
            return state
        self._remember(identifier, SeenState.RUNNING, until)
        return SeenState.NEW

    async def finish(self, identifier: str, *, until: float) -> None:
        """See `SeenIds.finish`."""
        self._remember(identifier, SeenState.HANDLED, until)

    async def forget(self, identifier: str) -> None:
        """See `SeenIds.forget`."""
        self._known.pop(identifier, None)

    def _remember(self, identifier: str, state: SeenState, until: float) -> None:
        self._known[identifier] = (state, until)
        self._known.move_to_end(identifier)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
