"""Spans and metrics: an attempt links to the request that emitted its event, and no metric has a tenant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import REGISTRY, generate_latest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from starlette_webhooks import Event, EventType, Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.backends.postgresql import PostgreSQLBackend
from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.health import Health
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.outbox.outbox import OnCommit
from starlette_webhooks.outbox.writing import Written
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.telemetry import Telemetry, find_telemetry
from starlette_webhooks.telemetry.gauges import GAUGES
from tests.eventually import eventually
from tests.receivers import Receiver, receiving
from tests.settings import make_settings

EVENT_TYPES = [EventType("a.b")]


class Recorded:
    """Telemetry in memory."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(**options)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider(metric_readers=[self.reader])
        self.telemetry = Telemetry(tracer_provider=self.tracers, meter_provider=self.meters)

    def span(self, name: str) -> ReadableSpan | None:
        return next((span for span in self.exporter.get_finished_spans() if span.name == name), None)

    def points(self) -> dict[str, list[Any]]:
        """The points of each metric."""
        data = self.reader.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return {metric.name: list(metric.data.data_points) for metric in metrics}


@pytest.fixture(params=["sqlite", "postgresql"])
def make_webhooks(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Webhooks]:
    """Makes an app on each store."""

    def make(telemetry: Telemetry | None, **changes: Any) -> Webhooks:
        settings: WebhooksSettings = make_settings(tmp_path, **changes)
        if request.param == "sqlite":
            return Webhooks(
                event_types=EVENT_TYPES, settings=settings, backend=SQLiteBackend(settings), telemetry=telemetry
            )
        named = {
            "database": request.getfixturevalue("postgresql_url"),
            "database_schema": request.getfixturevalue("migrated_schema"),
        }
        settings = settings.model_copy(update=named)
        return Webhooks(
            event_types=EVENT_TYPES, settings=settings, backend=PostgreSQLBackend(settings), telemetry=telemetry
        )

    return make


async def deliver(webhooks: Webhooks, receiver: Receiver, recorded: Recorded, **options: Any) -> ReadableSpan:
    """Emit within a request's span and return the span of the attempt."""
    async with webhooks.lifespan():
        await webhooks.endpoints("acme").create(receiver.url)
        with recorded.tracers.get_tracer("host").start_as_current_span("POST /invoices"):
            await webhooks.emitter("acme").send("a.b", {}, **options)
        return await eventually(lambda: recorded.span("attempt a.b"))


@pytest.mark.parametrize("options", [{}, {"event_id": "mine", "channels": ["eu"]}])
async def test_an_attempt_links_to_the_request_that_emitted(
    make_webhooks: Callable[..., Webhooks], options: dict[str, Any]
) -> None:
    recorded = Recorded()
    with receiving() as receiver:
        attempt = await deliver(make_webhooks(recorded.telemetry), receiver, recorded, **options)
    request, emit, commit = (recorded.span(name) for name in ("POST /invoices", "emit a.b", "commit events"))
    assert request is not None
    assert emit is not None
    assert commit is not None
    assert [one.parent and one.parent.span_id for one in (emit, commit)] == [request.context.span_id] * 2
    (link,) = attempt.links
    assert (link.context.trace_id, link.context.span_id) == (emit.context.trace_id, emit.context.span_id)
    assert attempt.parent is None
    assert attempt.context.trace_id != emit.context.trace_id
    assert attempt.attributes is not None
    assert attempt.attributes["messaging.message.id"] == receiver.ids()[0]
    assert attempt.attributes["http.response.status_code"] == 200
    assert "traceparent" not in receiver.requests[0].headers, "only by setting"


async def test_receivers_get_the_trace_context_by_setting(make_webhooks: Callable[..., Webhooks]) -> None:
    recorded = Recorded()
    with receiving() as receiver:
        receiver.status = 500
        webhooks = make_webhooks(recorded.telemetry, send_traceparent=True)
        attempt = await deliver(webhooks, receiver, recorded)
    context = attempt.context
    assert (
        receiver.requests[0].headers["traceparent"]
        == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    )
    assert attempt.status.is_ok is False
    assert attempt.attributes is not None
    assert attempt.attributes["error.type"] == "500"


async def test_an_attempt_links_to_the_request_that_emitted_within_its_transaction(tmp_path: Path) -> None:
    engine, recorded, settings = create_engine(f"sqlite:///{tmp_path / 'host.db'}"), Recorded(), make_settings(tmp_path)
    outbox = Outbox(engine)
    outbox.metadata.create_all(engine)
    backend = SQLiteBackend(settings)
    webhooks = Webhooks(
        event_types=EVENT_TYPES, settings=settings, backend=backend, outbox=outbox, telemetry=recorded.telemetry
    )
    with receiving() as receiver:
        async with webhooks.lifespan():
            await webhooks.endpoints("acme").create(receiver.url)
            with Session(engine) as session:
                webhooks.emitter("acme").emit("a.b", {}, within=session)
                session.commit()
            attempt = await eventually(lambda: recorded.span("attempt a.b"))
    engine.dispose()
    emit = recorded.span("emit a.b")
    assert emit is not None
    assert [link.context.span_id for link in attempt.links] == [emit.context.span_id]


async def test_an_attempt_links_to_the_request_if_the_backend_has_the_outbox(
    tmp_path: Path, postgresql_url: str, migrated_schema: str
) -> None:
    recorded = Recorded()
    settings = make_settings(tmp_path).model_copy(
        update={"database": postgresql_url, "database_schema": migrated_schema}
    )
    webhooks, silent = (
        Webhooks(event_types=EVENT_TYPES, settings=settings, backend=PostgreSQLBackend(settings), telemetry=telemetry)
        for telemetry in (recorded.telemetry, Telemetry())
    )
    engine = create_engine(postgresql_url.replace("postgresql://", "postgresql+psycopg://"))
    with receiving() as receiver:
        async with webhooks.lifespan():
            await webhooks.endpoints("acme").create(receiver.url)
            with Session(engine) as session:
                # One batch, with and without a context.
                ids = [
                    one.emitter("acme").emit("a.b", {}, within=session).event.id
                    for one in (silent, webhooks, silent, webhooks)
                ]
                session.commit()

            def attempts() -> list[ReadableSpan] | None:
                found = [span for span in recorded.exporter.get_finished_spans() if span.name == "attempt a.b"]
                return found if len(found) == 4 else None

            found = await eventually(attempts)
    engine.dispose()
    spans = recorded.exporter.get_finished_spans()
    emits = {message(span): span.context.span_id for span in spans if span.name == "emit a.b"}
    assert list(emits) == [ids[1], ids[3]]
    links = {message(span): [link.context.span_id for link in span.links] for span in found}
    assert links == {id: [emits[id]] if id in emits else [] for id in ids}


def message(span: ReadableSpan) -> str:
    """The id of the event that a span is about."""
    assert span.attributes is not None
    return str(span.attributes["messaging.message.id"])


async def test_a_request_waits_in_one_span_that_counts_its_events() -> None:
    recorded, settings = Recorded(), make_settings()
    webhooks = Webhooks(
        event_types=EVENT_TYPES, settings=settings, backend=MemoryBackend(settings), telemetry=recorded.telemetry
    )
    async with webhooks.lifespan():
        emitter = webhooks.request_emitter({"type": "http"}).for_tenant("acme")
        emitter.emit("a.b", {})
        emitter.emit_many([("a.b", {}), ("a.b", {})])
        await emitter.flush()
        emitter.emit("a.b", {})
        await emitter.flush()
        await emitter.flush()
    commits = [span for span in recorded.exporter.get_finished_spans() if span.name == "commit events"]
    assert [span.attributes and span.attributes["messaging.batch.message_count"] for span in commits] == [3, 1]


async def test_what_is_not_sampled_is_delivered_without_a_link(make_webhooks: Callable[..., Webhooks]) -> None:
    recorded = Recorded(sampler=ALWAYS_OFF)
    with receiving() as receiver:
        webhooks = make_webhooks(recorded.telemetry)
        async with webhooks.lifespan():
            await webhooks.endpoints("acme").create(receiver.url)
            await webhooks.emitter("acme").send("a.b", {})
            await eventually(lambda: receiver.requests)
    assert recorded.exporter.get_finished_spans() == ()


async def test_many_events_of_one_commit_keep_their_own_traces(make_webhooks: Callable[..., Webhooks]) -> None:
    recorded = Recorded()
    with receiving() as receiver:
        webhooks = make_webhooks(recorded.telemetry)
        async with webhooks.lifespan():
            await webhooks.endpoints("acme").create(receiver.url)
            await webhooks.emitter("acme").send_many([("a.b", {"n": n}) for n in range(5)])

            def attempts() -> list[ReadableSpan] | None:
                found = [span for span in recorded.exporter.get_finished_spans() if span.name == "attempt a.b"]
                return found if len(found) == 5 else None

            found = await eventually(attempts)
    emits = {span.context.span_id for span in recorded.exporter.get_finished_spans() if span.name == "emit a.b"}
    assert {link.context.span_id for span in found for link in span.links} == emits
    assert len(emits) == 5


async def test_metrics_count_events_and_attempts_and_name_no_tenant() -> None:
    recorded, settings = Recorded(), make_settings(retry_schedule="0")
    webhooks = Webhooks(
        event_types=EVENT_TYPES, settings=settings, backend=MemoryBackend(settings), telemetry=recorded.telemetry
    )
    with receiving() as receiver:
        receiver.answer = lambda request: 503 if "fail" in request.path else 200
        async with webhooks.lifespan():
            await webhooks.endpoints("acme").create(receiver.url + "/ok")
            await webhooks.endpoints("acme").create(receiver.url + "/fail")
            await webhooks.emitter("acme").emit("a.b", {})
            await eventually(lambda: sum(point.value for point in recorded.points().get("webhooks.attempts", ())) == 2)

            async def is_exhausted() -> bool:
                await webhooks.backend.refresh_figures()
                return webhooks.health()["deliveries"]["exhausted"] == 1

            await eventually(is_exhausted)
            points = recorded.points()
    assert [point.value for point in points["messaging.client.sent.messages"]] == [1]
    outcomes = {point.attributes["outcome"]: point.value for point in points["webhooks.attempts"]}
    assert outcomes == {"success": 1, "failure": 1}
    assert [point.count for point in points["webhooks.delivery.latency"]] == [1]
    assert sum(point.count for point in points["messaging.client.operation.duration"]) == 2
    assert [point.value for point in points["webhooks.deliveries.exhausted"]] == [1]
    assert [point.value for point in points["webhooks.endpoints"]] == [2]
    assert [point.value for point in points["webhooks.streams"]] == [0]
    labels = {str(value) for found in points.values() for point in found for value in point.attributes.values()}
    assert not any("acme" in label or "ep_" in label or "127.0.0.1" in label for label in labels)
    after = recorded.points()
    assert not after.get("webhooks.streams"), "not once it has stopped"


def test_the_lag_of_the_relay_is_that_of_both_outboxes() -> None:
    def gauges() -> tuple[int | float | None, ...]:
        figures = {gauge.name: gauge.figure(health) for gauge in GAUGES}
        return tuple(figures[f"webhooks.{name}"] for name in ("outbox.waiting", "outbox.age", "dead_letters"))

    health: Health = {"status": "ok", "backend": "svix"}
    assert gauges() == (None, None, None)
    health["outbox"] = {"waiting": 2, "oldestSeconds": 3.0, "deadLettered": 1}
    health["hostOutbox"] = {"here": True, "problem": None}
    assert gauges() == (2, 3.0, 1)
    health["hostOutbox"] = {"here": True, "problem": None, "waiting": 5, "oldestSeconds": 40.0, "deadLettered": 4}
    assert gauges() == (7, 40.0, 5)


async def test_without_an_sdk_nothing_is_reported_or_stored() -> None:
    telemetry, settings = Telemetry(), make_settings()
    webhooks = Webhooks(
        event_types=EVENT_TYPES, settings=settings, backend=MemoryBackend(settings), telemetry=telemetry
    )
    async with webhooks.lifespan():
        assert not telemetry.active
        assert (await webhooks.emitter("acme").emit("a.b", {})).trace is None


class NotingOutbox(Outbox):
    """Notes whether the emitter wants to know about commits."""

    follows: bool

    def write(self, within: Any, events: Sequence[Event], on_commit: OnCommit | None = None) -> Written:
        self.follows = on_commit is not None
        return super().write(within, events, on_commit)


@pytest.mark.parametrize("has_sdk", [False, True])
def test_without_an_sdk_the_outbox_keeps_no_events_to_count_them(tmp_path: Path, has_sdk: bool) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    outbox, settings = NotingOutbox(engine), make_settings(tmp_path)
    outbox.metadata.create_all(engine)
    telemetry = Recorded().telemetry if has_sdk else Telemetry()
    backend = MemoryBackend(settings)
    webhooks = Webhooks(event_types=EVENT_TYPES, settings=settings, backend=backend, outbox=outbox, telemetry=telemetry)
    with Session(engine) as session:
        webhooks.emitter("acme").emit("a.b", {}, within=session)
    engine.dispose()
    assert outbox.follows is has_sdk


async def test_prometheus_reads_the_metrics() -> None:
    reader = PrometheusMetricReader()
    meters = MeterProvider(metric_readers=[reader])
    settings = make_settings()
    webhooks = Webhooks(
        event_types=EVENT_TYPES,
        settings=settings,
        backend=MemoryBackend(settings),
        telemetry=Telemetry(meter_provider=meters),
    )
    try:
        async with webhooks.lifespan():
            await webhooks.emitter("acme").send("a.b", {})
            await webhooks.backend.refresh_figures()
            webhooks.health()
            text = generate_latest(REGISTRY).decode()
    finally:
        meters.shutdown()
    assert "webhooks_backlog_age_seconds" in text
    assert 'messaging_client_sent_messages_total{messaging_destination_name="a.b"' in text


def test_an_attempt_without_a_response_and_one_that_was_aborted_are_told_apart() -> None:
    recorded = Recorded()
    with recorded.telemetry.attempting("a.b", "msg_1", 1, None) as span:
        span.end(ok=False, status_code=0, error="refused", duration_ms=5)
    with recorded.telemetry.attempting("a.b", "msg_1", 2, None):
        pass
    refused, aborted = recorded.exporter.get_finished_spans()
    assert refused.attributes is not None
    assert aborted.attributes is not None
    assert refused.attributes["error.type"] == "no_response"
    assert "http.response.status_code" not in refused.attributes
    assert "error.type" not in aborted.attributes
    (point,) = recorded.points()["webhooks.attempts"]
    assert point.value == 1


@pytest.mark.parametrize("trace", ["01-of-a-later-version-1", "00-x-y-z", ""])
def test_a_trace_of_a_later_version_is_no_link(trace: str) -> None:
    recorded = Recorded()
    with recorded.telemetry.attempting("a.b", "msg_1", 1, trace):
        pass
    (span,) = recorded.exporter.get_finished_spans()
    assert span.links == ()


def test_without_a_tracer_there_is_no_trace_context() -> None:
    with Telemetry().attempting("a.b", "msg_1", 1, None) as span:
        assert span.traceparent == ""


async def test_without_opentelemetry_nothing_is_measured(
    settings: WebhooksSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    find_telemetry.cache_clear()
    try:
        assert find_telemetry() is None
        webhooks = Webhooks(event_types=EVENT_TYPES, settings=settings)
        async with webhooks.lifespan():
            await webhooks.emitter("acme").send("a.b", {})
            assert webhooks.health()["status"] == "ok"
    finally:
        find_telemetry.cache_clear()
