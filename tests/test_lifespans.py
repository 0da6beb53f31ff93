"""A lifespan that several tasks share: who opens it, who closes it, and where errors are raised."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from starlette_webhooks.lifespans import SharedLifespan
from tests.forking import in_child


class Resource:
    """Counts how often it is opened and closed."""

    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.may_open = anyio.Event()
        self.may_open.set()
        self.fail = anyio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        await self.may_open.wait()
        self.opened += 1
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            self.closed += 1


async def test_the_first_to_enter_may_leave_first() -> None:
    resource = Resource()
    lifespan = SharedLifespan(resource.open)
    first_is_in, second_is_in, first_has_left = anyio.Event(), anyio.Event(), anyio.Event()

    async def first() -> None:
        async with lifespan.entered():
            first_is_in.set()
            await second_is_in.wait()
        first_has_left.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await first_is_in.wait()
            async with lifespan.entered():
                second_is_in.set()
                await first_has_left.wait()
                assert lifespan.running
                assert (resource.opened, resource.closed) == (1, 0)
            assert resource.closed == 1
    assert not lifespan.running


async def test_tasks_that_enter_while_it_opens_wait_until_it_is_open() -> None:
    resource = Resource()
    resource.may_open = anyio.Event()
    lifespan = SharedLifespan(resource.open)
    seen: list[bool] = []

    async def enter() -> None:
        async with lifespan.entered():
            seen.append(lifespan.running)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(enter)
            await anyio.wait_all_tasks_blocked()
            assert not seen
            resource.may_open.set()
    assert (seen, resource.opened, resource.closed) == ([True] * 3, 1, 1)


async def test_a_task_that_enters_while_it_closes_opens_it_anew() -> None:
    resource = Resource()
    lifespan = SharedLifespan(resource.open)
    entered = 0

    async def enter() -> None:
        nonlocal entered
        async with lifespan.entered():
            entered += 1

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            async with lifespan.entered():
                pass
            stack = AsyncExitStack()
            await stack.enter_async_context(lifespan.entered())
            tasks.start_soon(stack.aclose)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(enter)
    assert (entered, resource.opened, resource.closed) == (1, 3, 3)


async def test_an_error_while_it_opens_is_raised_to_all_who_wait_and_the_next_may_try_again() -> None:
    attempts = 0

    @asynccontextmanager
    async def open() -> AsyncIterator[None]:
        nonlocal attempts
        attempts += 1
        await anyio.sleep(0.01)
        if attempts == 1:
            raise LookupError("cannot be opened")
        yield

    lifespan = SharedLifespan(open)
    failures: list[str] = []

    async def enter() -> None:
        try:
            async with lifespan.entered():
                raise AssertionError("it was entered")
        except LookupError as exc:
            failures.append(str(exc))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
        tasks.start_soon(enter)
    assert failures == ["cannot be opened"] * 2
    async with lifespan.entered():
        assert lifespan.running


async def test_cancelling_the_opening_task_lets_the_next_one_try_again() -> None:
    resource = Resource()
    resource.may_open = anyio.Event()
    lifespan = SharedLifespan(resource.open)
    with anyio.fail_after(5):
        with anyio.move_on_after(0.01) as scope:
            async with lifespan.entered():
                raise AssertionError("it was entered")
        assert scope.cancelled_caught
        resource.may_open.set()
        async with lifespan.entered():
            assert lifespan.running
    assert (resource.opened, resource.closed) == (1, 1)


async def test_the_last_to_leave_waits_until_it_is_closed_even_when_cancelled() -> None:
    resource = Resource()
    lifespan = SharedLifespan(resource.open)
    with anyio.CancelScope() as scope:
        async with lifespan.entered():
            scope.cancel()
            await anyio.sleep_forever()
    assert resource.closed == 1


async def test_an_error_while_it_closes_is_raised_to_the_last_to_leave() -> None:
    @asynccontextmanager
    async def open() -> AsyncIterator[None]:
        yield
        raise LookupError("cannot be closed")

    lifespan = SharedLifespan(open)
    with pytest.raises(LookupError, match="cannot be closed"):
        async with lifespan.entered():
            async with lifespan.entered():
                pass


async def test_an_error_of_the_block_is_raised_and_one_while_it_closes_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def open() -> AsyncIterator[None]:
        yield
        raise LookupError("cannot be closed")

    with pytest.raises(KeyError, match="the host's own"):
        async with SharedLifespan(open).entered():
            raise KeyError("the host's own")
    assert "LookupError: cannot be closed" in caplog.text


async def test_if_it_ends_unexpectedly_the_reason_is_logged_and_kept_and_the_block_continues(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = anyio.Event()

    @asynccontextmanager
    async def open() -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            try:
                yield
            finally:
                ended.set()

    async def fail() -> None:
        raise LookupError("a bug")

    lifespan = SharedLifespan(open)
    with anyio.fail_after(5):
        async with lifespan.entered():
            await ended.wait()
            await anyio.wait_all_tasks_blocked()
            assert not lifespan.running
            assert lifespan.error is not None
    assert "ended unexpectedly" in caplog.text
    assert "LookupError: a bug" in caplog.text


async def test_a_second_event_loop_gets_an_error_that_says_so(anyio_backend: str) -> None:
    lifespan = SharedLifespan(Resource().open)

    async def enter() -> None:
        async with lifespan.entered():
            pass

    async with lifespan.entered():
        with pytest.raises(RuntimeError, match="runs in another event loop"):
            await anyio.to_thread.run_sync(lambda: anyio.run(enter, backend=anyio_backend))
        assert lifespan.running
    await anyio.to_thread.run_sync(lambda: anyio.run(enter, backend=anyio_backend))


async def test_it_may_be_entered_and_left_in_different_tasks() -> None:
    lifespan = SharedLifespan(Resource().open)
    stack = AsyncExitStack()

    async def enter() -> None:
        await stack.enter_async_context(lifespan.entered())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
    assert lifespan.running
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stack.aclose)
    assert not lifespan.running


async def test_a_forked_child_does_not_believe_that_it_runs() -> None:
    lifespan = SharedLifespan(Resource().open)
    async with lifespan.entered():
        assert in_child(lambda: int(lifespan.running)) == 0
        assert lifespan.running
