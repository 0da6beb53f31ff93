"""Fixtures for all tests: both event loops, and CI's rule that no test is skipped because of a missing package."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from starlette_webhooks.settings import WebhooksSettings
from tests.databases import (  # noqa: F401  Fixtures.
    _fragile_postgresql,
    _schema_pool,
    _session_postgresql,
    migrated_schema,
    own_postgresql,
    pgbouncer,
    pgbouncer_url,
    postgresql_schema,
    postgresql_url,
)
from tests.proxies import proxy  # noqa: F401  A fixture.
from tests.settings import make_settings

# A shell without job control starts processes in the background so that they ignore Ctrl-C, and their children too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Each async test runs on both event loops."""
    return str(request.param)


@pytest.fixture
def settings(tmp_path: Path) -> WebhooksSettings:
    """Settings with a new database, and with deliveries to loopback allowed."""
    return make_settings(tmp_path)


class _Failures(logging.Handler):
    """Collects the errors of long-lived tasks, which start again after an error and so hide it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "It starts again" in str(record.msg):
            self.found.append(logging.Formatter().format(record))


@pytest.fixture(autouse=True)
def failed_tasks(request: pytest.FixtureRequest) -> Generator[None]:
    """Fail a test in which a long-lived task fails, unless it is marked with `failing_tasks`."""
    failures = _Failures()
    logger = logging.getLogger("starlette_webhooks")
    logger.addHandler(failures)
    yield
    logger.removeHandler(failures)
    if request.node.get_closest_marker("failing_tasks") is None:
        assert not failures.found, "\n".join(failures.found)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without collecting garbage, which takes a third of the time and finds none. Later it is rare."""
    gc.disable()
    try:
        return (yield)
    finally:
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, 100)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests run first. Otherwise one process would be left with them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, fail if a test would be skipped because a package is missing."""
    report = yield
    if report.skipped and os.environ.get("WEBHOOKS_TESTS_NO_SKIP") and "real Svix" not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"Skipped, which is not allowed here: {report.longrepr}"
    return report
