"""Metrics: counters and histograms of this process, and gauges of `health()`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from starlette_webhooks.events import Event
from starlette_webhooks.health import Health
from starlette_webhooks.identifiers import timestamp_ms
from starlette_webhooks.telemetry.gauges import GAUGES, Figure
from starlette_webhooks.telemetry.spans import AttemptSpan

__all__ = ["Metrics"]

_SYSTEM = {"messaging.system": "starlette_webhooks"}
# Seconds. Deliveries take milliseconds, or as long as the retry schedule.
_LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 21_600, 86_400, 432_000)
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)


class Metrics:
    """Makes metrics."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._watched: list[Callable[[], Health]] = []
        self._has_gauges = False
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", unit="{message}", description="Events that were emitted."
        )
        self._duration = meter.create_histogram(
            "messaging.client.operation.duration",
            unit="s",
            description="How long attempts take.",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )
        self._attempts = meter.create_counter("webhooks.attempts", unit="{attempt}", description="Attempts by outcome.")
        self._latency = meter.create_histogram(
            "webhooks.delivery.latency",
            unit="s",
            description="From an event to the success of its delivery.",
            explicit_bucket_boundaries_advisory=_LATENCIES,
        )

    def emitted(self, events: Sequence[Event]) -> None:
        """See `Telemetry.emitted`."""
        for event in events:
            attributes = {**_SYSTEM, "messaging.operation.name": "emit", "messaging.destination.name": event.type}
            self._sent.add(1, attributes)

    def attempted(self, event_type: str, attempt: AttemptSpan, *, event_id: str, number: int) -> None:
        """Record the outcome of an attempt."""
        error = {} if attempt.ok else {"error.type": attempt.error_type}
        operation = {**_SYSTEM, "messaging.operation.name": "attempt", "messaging.destination.name": event_type}
        self._duration.record(attempt.duration_ms / 1000, {**operation, **error})
        outcome = {"outcome": "success" if attempt.ok else "failure", "webhooks.retry": number > 1}
        self._attempts.add(1, {**outcome, **error})
        if attempt.ok:
            late = time.time() - timestamp_ms(event_id) / 1000
            self._latency.record(max(late, 0.0), {"messaging.destination.name": event_type})

    def watch(self, health: Callable[[], Health]) -> None:
        """See `Telemetry.watch`."""
        self._watched.append(health)
        if self._has_gauges:
            # An instrument cannot be removed.
            return
        self._has_gauges = True
        for gauge in GAUGES:
            self._meter.create_observable_gauge(
                gauge.name,
                callbacks=[partial(self._observe, gauge.figure)],
                unit=gauge.unit,
                description=gauge.description,
            )

    def unwatch(self, health: Callable[[], Health]) -> None:
        """See `Telemetry.unwatch`."""
        self._watched.remove(health)

    def _observe(self, figure: Figure, options: CallbackOptions) -> Iterable[Observation]:
        """Called on a thread of the exporter."""
        for health in tuple(self._watched):
            value = figure(health())
            if value is not None:
                yield Observation(value)
