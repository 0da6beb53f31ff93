"""The thread that commits survives unexpected errors, and tells them to those who wait."""

from __future__ import annotations

from typing import Any

import pytest

from starlette_webhooks.stores.writer import Writer
from starlette_webhooks.stores.writes import Batch, Write


async def test_an_unexpected_error_fails_its_batch_and_no_later_one(caplog: pytest.LogCaptureFixture) -> None:
    def commit(batch: Batch) -> None:
        for write in batch.writes:
            if write.operation == "bad":
                raise LookupError("unexpected")
            write.result = write.operation

    writer = Writer(commit, max_writes=10, max_bytes=1000)
    writer.start()
    bad: Write[Any] = writer.submit(Write, "bad", 1, True)
    with pytest.raises(RuntimeError, match="The write was not made: LookupError"):
        await bad.wait()
    good: Write[Any] = writer.submit(Write, "good", 1, True)
    assert await good.wait() == "good"
    await writer.stop(lambda: None)
    assert "The thread that commits had an unexpected error." in caplog.text


async def test_a_database_that_cannot_be_closed_is_logged_and_ends_the_writer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def close() -> None:
        raise OSError("no such file")

    writer = Writer(lambda batch: None, max_writes=10, max_bytes=1000)
    writer.start()
    await writer.stop(close)
    assert "The database could not be closed properly." in caplog.text
