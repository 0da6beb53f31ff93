"""Puts the figures of a store into `health()`."""

from __future__ import annotations

from starlette_webhooks.delivery.dispatcher import Dispatcher
from starlette_webhooks.health import DispatchersHealth, Health
from starlette_webhooks.operations import Overview

__all__ = ["add_figures", "dispatchers_health"]


def dispatchers_health(dispatcher: Dispatcher | None) -> DispatchersHealth:
    """Return the state of this process's dispatcher, if it has one."""
    if dispatcher is None:
        return {"here": False, "busy": 0, "problem": None}
    late = round(dispatcher.late, 3)
    return {"here": True, "busy": dispatcher.busy, "problem": dispatcher.problem, "lateSeconds": late}


def add_figures(health: Health, overview: Overview, age: float) -> None:
    """Add figures over all tenants to the state of a backend.

    Args:
        age: How old they are, in seconds.
    """
    health["figuresAgeSeconds"] = round(age, 3)
    health["deliveries"] = {
        "waiting": overview.waiting,
        "failing": overview.failing,
        "exhausted": overview.exhausted,
        "held": overview.held,
        "oldestDueSeconds": round(overview.late, 3),
    }
    health["endpoints"] = {
        "total": overview.endpoints,
        "failing": overview.endpoints_failing,
        "disabled": overview.endpoints_disabled,
    }
    health["storage"] = {"bytes": overview.storage_bytes}
    if "dispatchers" in health:
        health["dispatchers"]["alive"] = overview.dispatchers
    if "hostOutbox" in health:
        health["hostOutbox"]["waiting"] = overview.outbox_waiting
        health["hostOutbox"]["oldestSeconds"] = round(overview.outbox_late, 3)
        health["hostOutbox"]["deadLettered"] = overview.dead_lettered
