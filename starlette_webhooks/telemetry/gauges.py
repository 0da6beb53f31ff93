"""The figures of `health()` that are gauges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from starlette_webhooks.health import Health

__all__ = ["GAUGES", "Figure", "Gauge"]

Figure: TypeAlias = Callable[[Health], "int | float | None"]


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gauge. `figure` returns its value, or None while there is none."""

    name: str
    unit: str
    description: str
    figure: Figure


def _at(*paths: str) -> Figure:
    """Return what reads the first figure that is there, by paths such as `deliveries.waiting`."""

    def read(health: Health) -> int | float | None:
        for path in paths:
            part, _, field = path.partition(".")
            found = cast("Mapping[str, Any]", health).get(part, {}).get(field)
            if found is not None:
                value: int | float = found
                return value
        return None

    return read


GAUGES = (
    Gauge("webhooks.deliveries.waiting", "{delivery}", "Deliveries that wait.", _at("deliveries.waiting")),
    Gauge("webhooks.deliveries.failing", "{delivery}", "Those that will be retried.", _at("deliveries.failing")),
    Gauge("webhooks.deliveries.exhausted", "{delivery}", "Those without attempts left.", _at("deliveries.exhausted")),
    Gauge("webhooks.deliveries.held", "{delivery}", "Those to disabled endpoints.", _at("deliveries.held")),
    Gauge("webhooks.backlog.age", "s", "How late the oldest due delivery is.", _at("deliveries.oldestDueSeconds")),
    Gauge("webhooks.endpoints", "{endpoint}", "Endpoints of all tenants.", _at("endpoints.total")),
    Gauge("webhooks.endpoints.failing", "{endpoint}", "Enabled endpoints that fail.", _at("endpoints.failing")),
    Gauge("webhooks.endpoints.disabled", "{endpoint}", "Disabled endpoints.", _at("endpoints.disabled")),
    Gauge("webhooks.dispatchers.alive", "{process}", "Processes that deliver.", _at("dispatchers.alive")),
    Gauge("webhooks.dispatcher.late", "s", "For how long the dispatcher stood still.", _at("dispatchers.lateSeconds")),
    Gauge(
        "webhooks.outbox.waiting",
        "{event}",
        "Events that are not in the log, or at Svix, yet.",
        _at("outbox.waiting", "hostOutbox.waiting"),
    ),
    Gauge(
        "webhooks.outbox.age",
        "s",
        "For how long the oldest of them has waited.",
        _at("outbox.oldestSeconds", "hostOutbox.oldestSeconds"),
    ),
    Gauge(
        "webhooks.dead_letters",
        "{event}",
        "Events that were refused permanently.",
        _at("outbox.deadLettered", "hostOutbox.deadLettered"),
    ),
    Gauge("webhooks.streams", "{stream}", "Open streams of this process.", _at("streams.streams")),
    Gauge("webhooks.storage.size", "By", "The size of the database.", _at("storage.bytes")),
)
"""All gauges. Those over all tenants have the same value in all processes: use their maximum, not their sum."""
