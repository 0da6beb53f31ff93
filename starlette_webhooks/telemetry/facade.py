"""`Telemetry`: what the parts of the package report, as spans and metrics."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette_webhooks._version import __version__
from starlette_webhooks.events import Event
from starlette_webhooks.health import Health

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from starlette_webhooks.telemetry.spans import AttemptSpan

__all__ = ["Telemetry"]

_NAME = "starlette_webhooks"
_API = ("opentelemetry.trace", "opentelemetry.metrics")


class Telemetry:
    """Spans and metrics for one `Webhooks`.

    Neither has tenants or endpoints as attributes: there may be any number of them.

    Args:
        tracer_provider: By default, the global one.
        meter_provider: By default, the global one.

    Attributes:
        active: Whether an SDK receives spans or metrics. Decided again at each start of the lifespan.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        # Imported here, because few hosts have it.
        from opentelemetry import metrics, trace

        from starlette_webhooks.telemetry.metrics import Metrics
        from starlette_webhooks.telemetry.spans import Spans

        self._provider_of_spans = tracer_provider
        self._provider_of_metrics = meter_provider
        self.active = self._has_provider()
        self._spans = Spans(trace.get_tracer(_NAME, __version__, tracer_provider))
        self._metrics = Metrics(metrics.get_meter(_NAME, __version__, meter_provider))

    def _has_provider(self) -> bool:
        from opentelemetry import metrics, trace

        providers = (
            self._provider_of_spans or trace.get_tracer_provider(),
            self._provider_of_metrics or metrics.get_meter_provider(),
        )
        # The API's own providers do nothing. Many hosts have the API without an SDK, because FastAPI requires it.
        return not all(type(one).__module__.startswith(_API) for one in providers)

    def emitting(self, event: Event) -> Event:
        """Record that an event is emitted within the current span. Returns it with the trace context to store."""
        return self._spans.emit(event)

    def emitted(self, events: Sequence[Event]) -> None:
        """Count events that were accepted."""
        self._metrics.emitted(events)

    @contextmanager
    def committing(self, count: int) -> Generator[None]:
        """Record that somebody waits in this block until events are durable."""
        with self._spans.commit(count):
            yield

    @contextmanager
    def attempting(self, event_type: str, event_id: str, number: int, trace: str | None) -> Generator[AttemptSpan]:
        """Record an attempt, which happens in this block.

        Args:
            trace: The trace context that was stored with the event.
        """
        with self._spans.attempt(event_type, event_id, number, trace) as span:
            yield span
            if span.ended:
                self._metrics.attempted(event_type, span, event_id=event_id, number=number)

    def watch(self, health: Callable[[], Health]) -> None:
        """Report figures of `health` as gauges from now on."""
        self.active = self._has_provider()
        self._metrics.watch(health)

    def unwatch(self, health: Callable[[], Health]) -> None:
        """Stop reporting them."""
        self._metrics.unwatch(health)
