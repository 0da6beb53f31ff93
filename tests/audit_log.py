"""The entries that the audit log gets while a test runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def audit_entries(caplog: pytest.LogCaptureFixture) -> Generator[list[dict[str, Any]]]:
    """The entries until the block ends, in order. Each is also the message of its record."""
    found: list[dict[str, Any]] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert json.loads(record.getMessage()) == vars(record)["audit"]
            found.append(vars(record)["audit"])

    logger, keeper = logging.getLogger("starlette_webhooks.audit"), Keeper()
    with caplog.at_level(logging.INFO, logger.name):
        logger.addHandler(keeper)
        try:
            yield found
        finally:
            logger.removeHandler(keeper)
