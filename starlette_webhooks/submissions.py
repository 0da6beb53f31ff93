"""Events on their way into a backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette_webhooks.events import Event

__all__ = ["Submission"]


class Submission(Protocol):
    """Events that were submitted together."""

    @property
    def finished(self) -> bool:
        """Whether `wait` would return or raise at once."""

    @property
    def failed(self) -> bool:
        """Whether `wait` would raise at once."""

    async def wait(self) -> Sequence[Event]:
        """Wait until the events are durable. Returns them as stored: for an `event_id` seen before, the first event.

        May be awaited more than once, and by several tasks. Raises `BackendError` if they could not be stored.
        """
