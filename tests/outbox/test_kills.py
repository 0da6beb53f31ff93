"""Processes are killed between insert, commit, relay and acceptance, and orders and events still agree exactly."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from sqlalchemy import text

from starlette_webhooks import Webhooks
from starlette_webhooks.events import EventQuery
from starlette_webhooks.outbox import Outbox
from tests.eventually import eventually
from tests.outbox.killed import engine_of, make_webhooks
from tests.receivers import receiving

KILLS = int(os.environ.get("WEBHOOKS_TEST_KILLS", "5"))


async def logged(webhooks: Webhooks) -> Sequence[str]:
    """Return the orders that are in the log."""
    skus: list[str] = []
    cursor = None
    while True:
        page = await webhooks.backend.list_events("acme", EventQuery(limit=250, cursor=cursor))
        skus += [event.data["sku"] for event in page.items]
        if page.done:
            return sorted(skus)
        cursor = page.next_cursor


# Each process starts Python, and connects to its databases.
@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_orders_and_events_agree_whenever_the_process_dies(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    host = f"sqlite:///{tmp_path / 'host.db'}"
    log, schema = str(tmp_path / "log.db"), "webhooks"
    if database == "postgresql":
        host = log = request.getfixturevalue("postgresql_url")
        schema = request.getfixturevalue("postgresql_schema")
    orders = f"{schema}.orders" if host == log else "orders"
    engine = engine_of(host)
    with receiving() as receiver:
        webhooks = make_webhooks(host, log, schema)
        if host != log:
            Outbox(engine).metadata.create_all(engine)
        async with webhooks.lifespan():
            await webhooks.endpoints("acme").create(receiver.url)
            with engine.begin() as connection:
                connection.execute(text(f"CREATE TABLE {orders} (sku VARCHAR(32))"))
        command = [sys.executable, "-m", "tests.outbox.killed", host, log, schema, str(KILLS)]
        await anyio.run_process(command)
        webhooks = make_webhooks(host, log, schema)
        async with webhooks.lifespan():
            with engine.connect() as connection:
                committed = sorted(connection.execute(text(f"SELECT sku FROM {orders}")).scalars())
            assert len(committed) > KILLS

            async def moved() -> bool:
                return await logged(webhooks) == committed

            await eventually(moved, within=30)

            def delivered() -> bool:
                return {json.loads(one.body)["data"]["sku"] for one in list(receiver.requests)} == set(committed)

            await eventually(delivered, within=30)
    engine.dispose()
