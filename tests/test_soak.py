"""Short runs of what `scripts/soak` does at length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.soak import SETTINGS, disconnects, kills


@pytest.fixture
def on_postgresql(postgresql_url: str, postgresql_schema: str) -> dict[str, Any]:
    """Settings of servers that share a schema of the test's own."""
    return {**SETTINGS, "database": postgresql_url, "database_schema": postgresql_schema}


@pytest.mark.slow
def test_nothing_is_lost_when_one_of_two_servers_is_killed(tmp_path: Path, on_postgresql: dict[str, Any]) -> None:
    figures = kills(tmp_path, 1, on_postgresql)
    assert figures.answered > 20
    assert (figures.lost, figures.undelivered) == (0, 0)


@pytest.mark.slow
def test_nothing_is_lost_or_streamed_twice_while_sessions_are_ended(
    tmp_path: Path, on_postgresql: dict[str, Any]
) -> None:
    figures = disconnects(tmp_path, 30, on_postgresql)
    assert (figures.lost, figures.undelivered) == (0, 0)
    assert figures.more == {"stream_missed": 0, "stream_repeated": 0}
