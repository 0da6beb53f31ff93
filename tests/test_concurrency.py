"""Task groups that raise plain errors, long-lived tasks that survive their failures, and calls at the same time."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from starlette_webhooks.concurrency import Turns, each, keep_running, running_beside, task_group
from starlette_webhooks.exceptions import BackendUnavailable
from tests.eventually import eventually


async def fail_at_once() -> None:
    raise LookupError("of a task")


async def test_an_error_of_the_block_is_raised_as_it_is_and_cancels_the_tasks() -> None:
    with anyio.fail_after(5), pytest.raises(KeyError, match="of the block"):
        async with task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            raise KeyError("of the block")


async def test_an_error_of_a_task_is_raised_as_it_is() -> None:
    with anyio.fail_after(5), pytest.raises(LookupError, match="of a task"):
        async with task_group() as tasks:
            tasks.start_soon(fail_at_once)
            await anyio.sleep_forever()


async def test_a_group_that_the_block_raises_itself_is_left_as_it_is() -> None:
    with pytest.raises(ExceptionGroup, match="the host's own"):
        async with task_group():
            raise ExceptionGroup("the host's own", [KeyError("a")])


async def test_of_several_errors_the_first_is_raised_and_unexpected_others_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail_while_cancelled(error: Exception) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    with anyio.fail_after(5), pytest.raises(KeyError, match="of the block"):
        async with task_group() as tasks:
            tasks.start_soon(fail_while_cancelled, LookupError("unexpected"))
            tasks.start_soon(fail_while_cancelled, BackendUnavailable("expected"))
            await anyio.wait_all_tasks_blocked()
            raise KeyError("of the block")
    assert "LookupError: unexpected" in caplog.text
    assert "BackendUnavailable: expected" not in caplog.text


async def test_a_cancellation_from_outside_passes_through() -> None:
    with anyio.move_on_after(0.01) as scope:
        async with task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_long_lived_tasks_end_with_the_block() -> None:
    ended: list[str] = []

    async def run() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("run")

    with anyio.fail_after(5):
        async with running_beside(run, run):
            await anyio.wait_all_tasks_blocked()
            assert not ended
    assert ended == ["run", "run"]


@pytest.mark.failing_tasks
@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError(), LookupError("a bug")])
async def test_a_long_lived_task_that_fails_is_logged_and_started_again_after_longer_and_longer_pauses(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    runs, pauses = 0, list[float]()

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs <= 5:
            raise error

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    await keep_running(run, pause=1, longest_pause=5, sleep=sleep)
    assert (runs, pauses) == (6, [1, 2, 4, 5, 5])
    assert caplog.text.count("run failed. It starts again in") == 5
    assert type(error).__name__ in caplog.text


@pytest.mark.failing_tasks
async def test_a_failing_long_lived_task_does_not_affect_others_or_the_block() -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        async with running_beside(fail_at_once, beat):
            await eventually(lambda: beats)
            seen = beats
            await eventually(lambda: beats > seen)


async def test_results_come_in_the_order_of_the_items_and_few_calls_run_at_once() -> None:
    running, most = 0, 0

    async def double(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.001 * (5 - number % 5))
        running -= 1
        return 2 * number

    assert await each(range(10), double, at_once=3) == [2 * number for number in range(10)]
    assert most == 3


@pytest.mark.parametrize("make_error", [lambda: BackendUnavailable("down"), lambda: LookupError("a bug")])
async def test_the_first_error_of_a_call_cancels_the_others(make_error: Callable[[], Exception]) -> None:
    error = make_error()

    async def call(number: int) -> None:
        if number == 1:
            raise error
        await anyio.sleep_forever()

    with anyio.fail_after(5), pytest.raises(type(error)) as caught:
        await each(range(3), call)
    assert caught.value is error


async def test_a_tenant_has_one_turn_at_a_time_and_others_do_not_wait() -> None:
    turns = Turns()
    order: list[str] = []
    go = anyio.Event()

    async def take(tenant: str, name: str, *, wait: bool = False) -> None:
        async with turns.of(tenant):
            order.append(name)
            if wait:
                await go.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: take("acme", "first", wait=True))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(take, "acme", "second")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(take, "acme", "third")
        await take("globex", "other")
        await anyio.wait_all_tasks_blocked()
        assert order == ["first", "other"]
        go.set()
    assert order == ["first", "other", "second", "third"]
    assert len(turns) == 0


async def test_a_tenant_has_as_many_turns_at_a_time_as_it_may() -> None:
    turns = Turns(2)
    running = most = 0

    async def take() -> None:
        nonlocal running, most
        async with turns.of("acme"):
            running += 1
            most = max(most, running)
            await anyio.sleep(0.001)
            running -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(take)
    assert most == 2
    assert len(turns) == 0


async def test_turns_that_are_cancelled_together_leave_nothing_behind() -> None:
    turns = Turns()

    async def take() -> None:
        async with turns.of("acme"):
            pytest.fail("it was cancelled")

    async with anyio.create_task_group() as tasks:
        tasks.cancel_scope.cancel()
        tasks.start_soon(take)
        tasks.start_soon(take)
    assert len(turns) == 0


async def test_a_turn_that_fails_or_is_given_up_is_the_next_ones() -> None:
    turns = Turns()

    async def give_up() -> None:
        with anyio.move_on_after(0.01):
            async with turns.of("acme"):
                pytest.fail("it is not its turn")

    with pytest.raises(LookupError):
        async with turns.of("acme"):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(give_up)
            raise LookupError
    with anyio.fail_after(5):
        async with turns.of("acme"):
            assert len(turns) == 1
    assert len(turns) == 0


@pytest.mark.failing_tasks
async def test_a_task_that_ran_for_long_starts_again_without_a_long_pause(caplog: pytest.LogCaptureFixture) -> None:
    pauses: list[float] = []

    async def fail() -> None:
        if len(pauses) == 3:
            return
        # The clock of the loop must have moved.
        await anyio.sleep(0.001)
        raise LookupError("after a while")

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    await keep_running(fail, pause=0.5, longest_pause=0.0, sleep=note)
    assert pauses == [0.5, 0.5, 0.5]
    assert caplog.text.count("It starts again in 0.5 s.") == 3
