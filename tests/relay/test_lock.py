"""The file lock by which one of several processes relays."""

from __future__ import annotations

import logging
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.relay.lock import RelayLock


async def test_a_lock_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    lock = RelayLock(str(tmp_path / "missing" / "webhooks.db"), TimeSource())
    with pytest.raises(BackendUnavailable, match=r"webhooks\.db\.relay\.lock' cannot be opened: No such file"):
        await lock.acquire()
    assert not lock.held


async def test_a_process_that_waits_for_the_lock_says_once_who_holds_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = str(tmp_path / "webhooks.db")
    holder = RelayLock(database, TimeSource())
    await holder.acquire()
    pauses = 0

    async def sleep(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        # More than ten seconds.
        if pauses == 60:
            await holder.release()
        await anyio.lowlevel.checkpoint()

    waiting = RelayLock(database, TimeSource(sleep=sleep))
    with caplog.at_level(logging.INFO, logger="starlette_webhooks"):
        await waiting.acquire()
    assert waiting.held
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        f"The relay waits for the lock '{database}.relay.lock'"
    ]
    await waiting.release()
