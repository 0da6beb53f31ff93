"""What the dispatcher does when the system's clock was set."""

from __future__ import annotations

import logging

from starlette_webhooks.delivery.store import DeliveryStore
from starlette_webhooks.exceptions import BackendUnavailable, QueueFull
from starlette_webhooks.log_fields import log_fields

__all__ = ["fix_times", "log_jump"]

logger = logging.getLogger("starlette_webhooks")


def log_jump(seconds: float) -> None:
    """Log by how much the clock was set."""
    way = "ahead" if seconds > 0 else "back"
    fields = log_fields("clock.set", seconds=round(seconds))
    logger.warning("The system's clock was set %s by %.0f s.", way, abs(seconds), extra=fields)


async def fix_times(store: DeliveryStore) -> None:
    """Move back deliveries that were stored while the clock was ahead. If that fails, they only wait too long."""
    try:
        moved = await store.fix_times()
    except (BackendUnavailable, QueueFull) as exc:
        fields = log_fields("deliveries.late")
        text = "Deliveries may wait too long, because the clock was ahead when they were stored: %s"
        logger.warning(text, exc, extra=fields)
        return
    if moved:
        fields = log_fields("deliveries.moved_back", count=moved)
        logger.warning("Moved back %d deliveries that were stored while the clock was ahead.", moved, extra=fields)
