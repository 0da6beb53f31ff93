"""Processes are killed between insert, commit, relay and acceptance, and orders and events still agree exactly.

`scripts/soak within` does this more often. Another process takes over from one that relayed.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

from starlette_webhooks.events import EventQuery
from starlette_webhooks.outbox import Outbox
from tests.eventually import eventually
from tests.outbox.kills import kill_hosts
from tests.outbox.relaying import make_webhooks
from tests.servers import ROOT

KILLS = 10


# Each of its processes connects to its databases.
@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_orders_and_events_agree_whenever_the_process_dies(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    host, log, schema = f"sqlite:///{tmp_path / 'host.db'}", str(tmp_path / "log.db"), "webhooks"
    if database == "postgresql":
        host = log = request.getfixturevalue("postgresql_url")
        schema = request.getfixturevalue("postgresql_schema")
    outcome = await kill_hosts(host, log, schema, KILLS)
    assert outcome.orders > KILLS
    assert (outcome.lost, outcome.invented, outcome.doubled, outcome.undelivered) == (0, 0, 0, 0)


# Taking over


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, str]:
    """The database of a host with an outbox, the log that both processes share, and the schema of the outbox."""
    url, schema = f"sqlite:///{tmp_path / 'host.db'}", ""
    if request.param == "postgresql":
        url, schema = request.getfixturevalue("postgresql_url"), request.getfixturevalue("postgresql_schema")
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    Outbox(engine, schema=schema or None).metadata.create_all(engine)
    engine.dispose()
    return url, str(tmp_path / "log.db"), schema


@contextmanager
def relaying_elsewhere(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that relays."""
    command = [sys.executable, "-m", "tests.outbox.relaying", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "relays\n"
            yield process
        finally:
            process.kill()


def connect(url: str) -> Any:
    return sqlite3.connect(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else psycopg.connect(url)


# On PostgreSQL, the lease of the process that was killed must end.
@pytest.mark.slow
async def test_another_process_takes_over_within_5_seconds_after_a_kill(place: tuple[str, str, str]) -> None:
    webhooks = make_webhooks(*place)
    with relaying_elsewhere(*place) as other, closing(connect(place[0])) as connection:
        async with webhooks.lifespan():
            assert webhooks.health()["hostOutbox"]["here"] is False
            other.kill()
            event = webhooks.emitter("acme").emit("order.created", within=connection).event
            connection.commit()

            async def logged() -> bool:
                return (await webhooks.backend.list_events("acme", EventQuery())).items == [event]

            await eventually(logged, within=5)
            assert webhooks.health()["hostOutbox"]["here"] is True
