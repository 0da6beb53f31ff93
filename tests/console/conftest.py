"""A running `Webhooks` with a console, on each store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from starlette_webhooks.settings import WebhooksSettings
from tests.audit_log import audit_entries
from tests.console.desk import Desk, at_console
from tests.hosts import make_webhooks
from tests.receivers import Receiver, receiving
from tests.settings import make_settings


@pytest.fixture
def receiver() -> Generator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def chosen() -> dict[str, Any]:
    """Further settings. A module or a test replaces it."""
    return {}


@pytest.fixture(params=["sqlite", "postgresql"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, chosen: dict[str, Any]) -> WebhooksSettings:
    """Settings with a database of each kind."""
    settings = make_settings(tmp_path, **{"retry_schedule": "0,3600", **chosen})
    if request.param == "sqlite":
        return settings
    url: str = request.getfixturevalue("postgresql_url")
    schema: str = request.getfixturevalue("migrated_schema")
    return settings.model_copy(update={"database": url, "database_schema": schema})


@pytest.fixture
async def desk(stored: WebhooksSettings, receiver: Receiver) -> AsyncIterator[Desk]:
    """An operator at the console of a running `Webhooks`."""
    webhooks = make_webhooks(stored)
    async with webhooks.lifespan(), at_console(webhooks) as client:
        yield Desk(webhooks, client, receiver)


@pytest.fixture
def entries(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    """The entries of the audit log, in order."""
    with audit_entries(caplog) as found:
        yield found
