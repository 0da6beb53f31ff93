"""What a relay calls for each event, and the two ways in which that can fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from starlette_webhooks.events import Event

__all__ = ["Accepted", "Forward", "ForwardingFailed", "ForwardingRefused"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that the target has.

    Attributes:
        event: The event as the target has it. Its `id` is empty where the target has it but no longer shows it.
        check_at: When to check whether the target delivers it; None where there is no doubt.
    """

    event: Event
    check_at: float | None = None


class ForwardingFailed(Exception):
    """The target did not take the event, or did not say that it did. Forward it again.

    Attributes:
        everywhere: Whether events of other tenants would fail as well.
        retry_after: How many seconds the target asked to wait, or None.
    """

    def __init__(self, reason: str, *, everywhere: bool = False, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.everywhere = everywhere
        self.retry_after = retry_after


class ForwardingRefused(Exception):
    """The target refused the event permanently. `code` and `detail` are its own words."""

    def __init__(self, reason: str, *, code: str = "", detail: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.detail = detail


class Forward(Protocol):
    """Gives an event to the target. Called again for an event whose first call failed halfway."""

    async def __call__(self, event: Event) -> Accepted:
        """Forward the event once.

        Raises:
            ForwardingFailed: The target may or may not have it.
            ForwardingRefused: The target will never take it as it is.
        """
