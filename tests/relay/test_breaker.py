"""When the target of a relay counts as down."""

from __future__ import annotations

import anyio

from starlette_webhooks.relay.breaker import Breaker
from starlette_webhooks.relay.clock import TimeSource
from tests.clock import VirtualTime
from tests.eventually import eventually


def fail(breaker: Breaker, tenant: str, *, everywhere: bool = False) -> bool:
    breaker.failed(tenant, everywhere=everywhere, retry_after=None)
    return breaker.open


async def test_the_target_is_down_if_three_tenants_fail_and_none_succeeds_in_between() -> None:
    breaker = Breaker(VirtualTime().source())
    assert not fail(breaker, "acme")
    assert not fail(breaker, "globex")
    assert not fail(breaker, "acme"), "the same tenant again"
    breaker.succeeded()
    assert not fail(breaker, "acme")
    assert not fail(breaker, "globex")
    assert fail(breaker, "initech")
    breaker.succeeded()
    assert not breaker.open


async def test_one_failure_that_concerns_all_tenants_is_enough() -> None:
    assert fail(Breaker(VirtualTime().source()), "acme", everywhere=True)


async def test_a_call_that_is_cancelled_before_it_tries_the_target_leaves_that_to_the_next_one() -> None:
    pauses: list[float] = []
    scope = anyio.CancelScope()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            await anyio.sleep_forever()

    async def be_cancelled() -> None:
        with scope:
            await breaker.admit()

    breaker = Breaker(TimeSource(sleep=sleep))
    fail(breaker, "acme", everywhere=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(be_cancelled)
        await eventually(lambda: pauses)
        tasks.start_soon(breaker.admit)
        scope.cancel()
        await eventually(lambda: len(pauses) == 2)
