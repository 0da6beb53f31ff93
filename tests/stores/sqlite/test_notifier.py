"""How soon other processes on a file notice a commit."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from starlette_webhooks.stores.sqlite.store import SQLiteStore
from tests.eventually import eventually
from tests.stores.contract import Listening, add, emit, number_of, running


async def test_commits_of_other_processes_are_notified_within_50_ms(tmp_path: Path) -> None:
    path = str(tmp_path / "webhooks.db")
    async with running(lambda: SQLiteStore(path)) as store, running(lambda: SQLiteStore(path)) as other:
        endpoint = await add(store)
        number = await number_of(store, endpoint)
        dispatcher = Listening()
        store.on_deliveries(dispatcher)
        await emit(store)
        await eventually(lambda: dispatcher.unknown)
        dispatcher.woken.clear()
        delays = []
        for _ in range(10):
            await emit(store)
            dispatcher.woken.clear()
            sent = await emit(other)
            committed = time.monotonic()
            await eventually(lambda: dispatcher.woken == [number])
            delays.append(time.monotonic() - committed)
        assert statistics.median(delays) < 0.05
        await other.resend("acme", sent.id, endpoint.id)
        await eventually(lambda: number in dispatcher.urgent)
