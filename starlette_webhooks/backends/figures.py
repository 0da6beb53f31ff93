"""Puts the figures of a store into `health()`."""

from __future__ import annotations

from starlette_webhooks.health import Health
from starlette_webhooks.operations import Overview

__all__ = ["add_figures"]


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
