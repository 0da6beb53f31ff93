"""The function that a relay calls for each event, and its two errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from starlette_webhooks.events import Event

__all__ = ["Accepted", "Forward", "ForwardingFailed", "ForwardingRefused"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that the target has accepted.

    Attributes:
        event: The event as the target has it. Its `id` is empty if the target no longer shows it.
        check_at: When to check whether the target delivers it. None if there is no doubt.
    """

    event: Event
    check_at: float | None = None


class ForwardingFailed(Exception):
    """The target did not accept the event, or did not confirm it. Forward it again.

    Attributes:
        everywhere: Whether events of other tenants would fail as well.
        retry_after: The seconds that the target asked to wait, or None.
    """

    def __init__(self, reason: str, *, everywhere: bool = False, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.everywhere = everywhere
        self.retry_after = retry_after


class ForwardingRefused(Exception):
    """The target refused the event permanently. `code` and `detail` come from the target."""

    def __init__(self, reason: str, *, code: str = "", detail: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.detail = detail


class Forward(Protocol):
    """Forwards an event to the target. Called again if the first call failed halfway."""

    async def __call__(self, event: Event) -> Accepted:
        """Forward the event once.

        Raises:
            ForwardingFailed: The target may or may not have the event.
            ForwardingRefused: The target will never accept the event as it is.
        """
