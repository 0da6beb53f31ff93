"""The task that moves what hosts have committed is woken from any thread, and from the thread of the event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio import to_thread

from starlette_webhooks.relay.wakes import Wakes


async def here(fn: Callable[[], None]) -> None:
    fn()


@pytest.mark.parametrize("call", [here, to_thread.run_sync], ids=["loop", "thread"])
@pytest.mark.parametrize("committed", [True, False])
async def test_task_is_woken_and_knows_whether_a_commit_is_expected(
    call: Callable[[Callable[[], None]], Awaitable[None]], committed: bool
) -> None:
    wakes = Wakes()
    wakes.start()
    with anyio.fail_after(10):
        await call(lambda: wakes.wake(committed))
        await wakes.wait(60)
    assert wakes.expected is not committed
