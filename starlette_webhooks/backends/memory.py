"""`MemoryBackend`: `SQLiteBackend` without a file, for tests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.events import Event
from starlette_webhooks.submissions import Submission

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.types import Clock

__all__ = ["MemoryBackend"]

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class MemoryBackend(SQLiteBackend):
    """A `SQLiteBackend` in memory. Nothing is left after its lifespan.

    It also delivers to loopback addresses, and retries exactly by the schedule, without jitter.

    Args:
        settings: By default, read from the environment. `database` is ignored.
        clock: Seconds since the epoch.
        deliver: Whether events are delivered to endpoints. By default, as in the settings.

    Attributes:
        events: All submitted events, in order.
    """

    name = "memory"

    def __init__(
        self, settings: WebhooksSettings | None = None, *, clock: Clock = time.time, deliver: bool | None = None
    ) -> None:
        if settings is None:
            from starlette_webhooks.environment import load_settings

            settings = load_settings()
        changes: dict[str, Any] = {
            "database": ":memory:",
            "allow_networks": (*settings.allow_networks, *_LOOPBACK),
            "deliver": settings.deliver if deliver is None else deliver,
        }
        super().__init__(settings.model_copy(update=changes), clock=clock, random=lambda: 0.5)
        self.events: list[Event] = []

    def submit(self, events: Sequence[Event]) -> Submission:
        """See `Backend.submit`."""
        submission = super().submit(events)
        self.events.extend(events)
        return submission
