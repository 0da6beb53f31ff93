"""Submitted events, which wait for a backend to accept them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette_webhooks.events import Event

__all__ = ["Submission"]


class Submission(Protocol):
    """Events that were submitted together."""

    @property
    def finished(self) -> bool:
        """Whether `wait` would return or raise immediately."""

    @property
    def failed(self) -> bool:
        """Whether `wait` would raise immediately."""

    async def wait(self) -> Sequence[Event]:
        """Wait until the events are durable, and return them as stored: for a known `event_id`, the first event.

        May be awaited more than once, and by several tasks. Raises `BackendError` if they could not be stored.
        """
