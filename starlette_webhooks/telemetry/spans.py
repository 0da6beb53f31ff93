"""Spans: emit, commit and attempt. An attempt links to the emit of its event, in whose trace a user may look for it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)

from starlette_webhooks.events import Event

__all__ = ["AttemptSpan", "Spans"]

_SYSTEM = "starlette_webhooks"


class AttemptSpan:
    """The span of an attempt.

    Attributes:
        traceparent: The trace context of the attempt, for its receiver. Empty if there is none.
        ok, status_code, duration_ms: The outcome, once it has `ended`.
    """

    __slots__ = ("_span", "duration_ms", "ended", "ok", "status_code", "traceparent")

    def __init__(self, span: Span) -> None:
        self._span = span
        self.traceparent = _format(span.get_span_context())
        self.ended = self.ok = False
        self.status_code = self.duration_ms = 0

    def end(self, *, ok: bool, status_code: int, error: str, duration_ms: int) -> None:
        """Note the outcome of the attempt."""
        self.ended, self.ok, self.status_code, self.duration_ms = True, ok, status_code, duration_ms
        if status_code:
            self._span.set_attribute("http.response.status_code", status_code)
        if not ok:
            self._span.set_attribute("error.type", self.error_type)
            self._span.set_status(Status(StatusCode.ERROR, error or None))

    @property
    def error_type(self) -> str:
        """What went wrong, in few values: the status, or `no_response`."""
        return str(self.status_code) if self.status_code else "no_response"


class Spans:
    """Makes spans."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def emit(self, event: Event) -> Event:
        """See `Telemetry.emitting`."""
        attributes = _attributes("emit", "create", event.type, event.id)
        span = self._tracer.start_span(f"emit {event.type}", kind=SpanKind.PRODUCER, attributes=attributes)
        span.end()
        context = span.get_span_context()
        # A context that is not sampled leads nowhere, and would be stored with each event.
        return replace(event, trace=_format(context)) if context.trace_flags & TraceFlags.SAMPLED else event

    @contextmanager
    def commit(self, count: int) -> Generator[None]:
        """See `Telemetry.committing`."""
        attributes: dict[str, str | int] = {
            "messaging.system": _SYSTEM,
            "messaging.operation.name": "commit",
            "messaging.operation.type": "send",
            "messaging.batch.message_count": count,
        }
        with self._tracer.start_as_current_span("commit events", attributes=attributes):
            yield

    @contextmanager
    def attempt(self, event_type: str, event_id: str, number: int, trace: str | None) -> Generator[AttemptSpan]:
        """See `Telemetry.attempting`. In a trace of its own: attempts may go on for days."""
        attributes = {**_attributes("attempt", "process", event_type, event_id), "webhooks.attempt.number": number}
        with self._tracer.start_as_current_span(
            f"attempt {event_type}",
            context=Context(),
            kind=SpanKind.CLIENT,
            links=_links(trace),
            attributes=attributes,
        ) as span:
            yield AttemptSpan(span)


def _attributes(name: str, kind: str, event_type: str, event_id: str) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "messaging.system": _SYSTEM,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": event_type,
    }
    if event_id:
        attributes["messaging.message.id"] = event_id
    return attributes


def _format(context: SpanContext) -> str:
    """Return a context as `traceparent` (W3C Trace Context)."""
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _links(trace: str | None) -> Sequence[Link]:
    if trace is None:
        return ()
    try:
        _, trace_id, span_id, flags = trace.split("-")
        sampled = TraceFlags(int(flags, 16))
        context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=sampled)
    except ValueError:
        # A later version may store more.
        return ()
    return (Link(context),)
