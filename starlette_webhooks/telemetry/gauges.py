"""The figures of `health()` that are gauges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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


def _at(path: str) -> Figure:
    """Return what reads a figure by a path such as `deliveries.waiting`."""
    part, _, field = path.partition(".")

    def read(health: Health) -> int | float | None:
        found: int | float | None = cast("Mapping[str, Any]", health).get(part, {}).get(field)
        return found

    return read


def _of_outboxes(field: str, together: Callable[[Iterable[int | float]], int | float]) -> Figure:
    """Return what reads a figure of all outboxes: with Svix, and one in the host's database, there are two."""
    figures = [_at(f"{outbox}.{field}") for outbox in ("outbox", "hostOutbox")]

    def read(health: Health) -> int | float | None:
        found = [value for figure in figures if (value := figure(health)) is not None]
        return together(found) if found else None

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
        _of_outboxes("waiting", sum),
    ),
    Gauge(
        "webhooks.outbox.age",
        "s",
        "For how long the oldest of them has waited.",
        _of_outboxes("oldestSeconds", max),
    ),
    Gauge(
        "webhooks.dead_letters",
        "{event}",
        "Events that were refused permanently.",
        _of_outboxes("deadLettered", sum),
    ),
    Gauge("webhooks.streams", "{stream}", "Open streams of this process.", _at("streams.streams")),
    Gauge("webhooks.storage.size", "By", "The size of the database.", _at("storage.bytes")),
)
"""All gauges. Those over all tenants have the same value in all processes: use their maximum, not their sum."""
