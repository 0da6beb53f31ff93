"""Spans and metrics by OpenTelemetry, where its API is installed (the extra `opentelemetry`)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

from starlette_webhooks.health import Health
from starlette_webhooks.telemetry.facade import Telemetry

__all__ = ["Telemetry", "find_telemetry", "watching"]


@cache
def find_telemetry() -> Telemetry | None:
    """Return telemetry with the global providers. None if OpenTelemetry's API is not installed."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.trace") is None:
        return None
    return Telemetry()


@contextmanager
def watching(telemetry: Telemetry | None, health: Callable[[], Health]) -> Generator[None]:
    """Report figures of `health` as gauges until the block ends."""
    if telemetry is None:
        yield
        return
    telemetry.watch(health)
    try:
        yield
    finally:
        telemetry.unwatch(health)
