"""Gates and waiters: a waiting task continues, even if others are cancelled."""

from __future__ import annotations

import anyio
from anyio.lowlevel import checkpoint

from starlette_webhooks.waiting import running_loop
from tests.forking import in_child


async def test_a_gate_wakes_all_waiting_tasks_even_if_one_was_cancelled() -> None:
    gate = running_loop().gate()
    passed: list[int] = []
    scopes = [anyio.CancelScope() for _ in range(3)]

    async def wait(number: int) -> None:
        with scopes[number]:
            await gate.wait()
            passed.append(number)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
            scopes[1].cancel()
            await anyio.wait_all_tasks_blocked()
            assert passed == []
            gate.set()
    assert sorted(passed) == [0, 2]


async def test_a_waiter_wakes_once_and_remembers_no_wake() -> None:
    waiter = running_loop().waiter()
    woken = 0

    async def wait() -> None:
        nonlocal woken
        await waiter.wait()
        woken += 1

    with anyio.fail_after(5):
        waiter.wake()
        for expected in (1, 2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                assert woken == expected - 1, "a wake before the wait has no effect"
                waiter.wake()
                waiter.wake()
            await checkpoint()
            assert woken == expected


async def test_a_waiter_can_be_used_again_after_a_cancellation() -> None:
    waiter = running_loop().waiter()
    with anyio.fail_after(5):
        with anyio.move_on_after(0.01):
            await waiter.wait()
        waiter.wake()
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                await waiter.wait()

            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            waiter.wake()


async def test_a_forked_child_does_not_call_the_loop_of_its_parent() -> None:
    loop = running_loop()
    called = anyio.Event()

    def call() -> int:
        try:
            loop.call_soon_threadsafe(called.set)
        except RuntimeError:
            return 0
        return 1

    assert await anyio.to_thread.run_sync(in_child, call) == 0
    assert not called.is_set()
    await anyio.to_thread.run_sync(loop.call_soon_threadsafe, called.set)
    with anyio.fail_after(5):
        await called.wait()
