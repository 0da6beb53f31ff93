"""Completes `health()`, and decides from it whether a process is ready."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import anyio

from starlette_webhooks.health import Health, LastError, Reason, StreamsHealth

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings

__all__ = [
    "has_thresholds",
    "reasons_against",
    "running_health",
    "stands_still",
    "stopped_health",
    "with_fresh_figures",
]

_OLD_SECONDS = 2.0
_REFRESH_SECONDS = 1.0


def has_thresholds(settings: WebhooksSettings) -> bool:
    """Return whether readiness depends on figures."""
    return bool(settings.ready_backlog_age or settings.ready_outbox_age or settings.ready_dead_letters)


def stands_still(health: Health, settings: WebhooksSettings) -> bool:
    """Return whether the dispatcher of this process has stood still for too long, so that a restart may help."""
    if not settings.alive_dispatcher_age or health.get("database", {}).get("problem"):
        # While the database is unavailable, it waits, and a restart would not help.
        return False
    return "dispatchers" in health and health["dispatchers"].get("lateSeconds", 0.0) > settings.alive_dispatcher_age


def reasons_against(health: Health, settings: WebhooksSettings) -> list[Reason]:
    """Return why a process is not ready. Empty if it is.

    Without thresholds in the settings, only what concerns this process counts: otherwise, one customer's endpoint or an
    outage of Svix would take all processes out of service at once.
    """
    if health["status"] == "stopped":
        return ["stopped"]
    reasons: list[Reason] = ["dispatcher"] if stands_still(health, settings) else []
    if "streams" in health and health["streams"]["draining"]:
        reasons.append("draining")
    outbox = health.get("outbox")
    if health.get("database", {}).get("problem") or (outbox is not None and outbox.get("problem")):
        reasons.append("database")
    late = health["deliveries"]["oldestDueSeconds"] if "deliveries" in health else 0.0
    if settings.ready_backlog_age and late > settings.ready_backlog_age:
        reasons.append("backlog")
    outboxes = [one for one in (outbox, health.get("hostOutbox")) if one is not None]
    oldest = max((one.get("oldestSeconds", 0.0) for one in outboxes), default=0.0)
    if settings.ready_outbox_age and oldest > settings.ready_outbox_age:
        reasons.append("outbox")
    dead = sum(one.get("deadLettered", 0) for one in outboxes)
    if settings.ready_dead_letters and dead >= settings.ready_dead_letters:
        reasons.append("dead_letters")
    return reasons


def running_health(
    health: Health, settings: WebhooksSettings, streams: StreamsHealth, last_errors: Sequence[LastError]
) -> Health:
    """Complete the health of a backend that runs in this process."""
    host_outbox = health.get("hostOutbox")
    if host_outbox is not None and host_outbox["problem"] is not None and health["status"] == "ok":
        health["status"] = "degraded"
    health["streams"] = streams
    health["reasons"] = reasons_against(health, settings)
    if health["reasons"]:
        health["status"] = "degraded"
    health["lastErrors"] = list(last_errors)
    return health


def stopped_health(health: Health, error: BaseException | None) -> Health:
    """Complete the health of a backend that does not run in this process.

    Args:
        error: What ended it unexpectedly.
    """
    health["status"], health["reasons"] = "stopped", ["stopped"]
    if error is not None:
        health["error"] = f"The backend ended unexpectedly: {error!r}. Restart the process."
    return health


async def with_fresh_figures(
    health: Callable[[], Health], refresh: Callable[[], Awaitable[None]], *, within: float = _REFRESH_SECONDS
) -> Health:
    """Return the health, with figures that are read again if they are too old.

    Args:
        refresh: Reads the figures.
        within: Seconds to wait for them at most.
    """
    found = health()
    if found["status"] == "stopped" or found.get("figuresAgeSeconds", math.inf) <= _OLD_SECONDS:
        return found
    # If the database does not answer, `health` says so.
    with anyio.move_on_after(within):
        await refresh()
    return health()
