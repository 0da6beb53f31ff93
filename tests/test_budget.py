"""A limited amount, such as the memory for pages of events, and how tenants share it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from starlette_webhooks.budget import Budget, Reservation, within_share
from tests.eventually import eventually


class Client:
    """A caller that waits for a reservation."""

    def __init__(self, budget: Budget, tenant: str, size: int) -> None:
        self.budget = budget
        self.tenant = tenant
        self.size = size
        self.reservation: Reservation | None = None
        self.scope = anyio.CancelScope()

    async def run(self) -> None:
        with self.scope:
            self.reservation = await self.budget.reserve(self.tenant, self.size)


@asynccontextmanager
async def clients(budget: Budget, *wanted: tuple[str, int]) -> AsyncGenerator[list[Client]]:
    """Make these requests one after the other."""
    async with anyio.create_task_group() as tasks:
        found = [Client(budget, *one) for one in wanted]
        for client in found:
            tasks.start_soon(client.run)
            await settle()
        yield found
        tasks.cancel_scope.cancel()


async def settle() -> None:
    for _ in range(5):
        await checkpoint()


def served(found: list[Client]) -> list[bool]:
    return [client.reservation is not None for client in found]


async def test_what_is_reserved_is_held_until_it_is_released() -> None:
    budget = Budget(100)
    with await budget.reserve("acme", 40) as reservation:
        assert budget.held == 40
        reservation.resize(10)
        assert budget.held == 10
        reservation.resize(130)
        assert budget.held == 130, "it is in memory, whatever was expected"
    reservation.release()
    assert budget.held == 0


async def test_a_request_beyond_the_whole_budget_has_it_alone() -> None:
    budget = Budget(100)
    small = await budget.reserve("acme", 10)
    async with clients(budget, ("globex", 1000), ("initech", 10)) as (large, after):
        assert served([large, after]) == [False, False]
        small.release()
        await settle()
        assert served([large, after]) == [True, False]
        assert large.reservation is not None
        large.reservation.release()
        await settle()
        assert served([large, after]) == [True, True]


async def test_one_tenant_gets_half_and_the_next_still_finds_room() -> None:
    budget = Budget(100)
    async with clients(budget, *[("acme", 10)] * 10, *[("globex", 10)] * 10, ("initech", 10)) as found:
        assert sum(served(found[:10])) == 5
        assert sum(served(found[10:20])) == 3
        assert served(found[20:]) == [True]
        assert budget.waiting == 12
        for client in found[:3]:
            assert client.reservation is not None
            client.reservation.release()
        await settle()
        assert sum(served(found[:10])) == 6, "a tenant that releases what is beyond its share gets more"
    assert budget.waiting == 0


async def test_a_large_request_is_not_overtaken_forever() -> None:
    budget = Budget(100)
    held = await budget.reserve("acme", 50)
    async with clients(budget, ("globex", 80), ("initech", 10)) as (large, small):
        assert served([large, small]) == [False, False]
        held.release()
        await settle()
        assert served([large, small]) == [True, True]


async def test_a_request_that_is_cancelled_lets_the_others_pass() -> None:
    budget = Budget(100)
    await budget.reserve("acme", 50)
    async with clients(budget, ("globex", 80), ("initech", 10)) as (large, small):
        large.scope.cancel()
        await settle()
        assert served([large, small]) == [False, True]
    assert budget.held == 60


async def test_a_request_that_is_cancelled_as_it_is_granted_gives_its_memory_back() -> None:
    budget = Budget(100)
    held = await budget.reserve("acme", 50)
    async with clients(budget, ("acme", 20)) as (late,):
        late.scope.cancel()
        held.release()
        await settle()
    assert (budget.held, budget.waiting) == (0, 0)


async def test_a_reserve_is_for_tenants_that_hold_nothing() -> None:
    budget = Budget(100, reserve=25)
    async with clients(budget, *[("mallory", 1)] * 100, *[(f"tenant-{n}", 1) for n in range(60)]) as found:
        assert sum(served(found[:100])) == 38
        assert sum(served(found[100:])) == 60


async def test_clients_that_block_lose_their_memory_to_a_tenant_that_has_none() -> None:
    budget = Budget(100, patience=0.01)
    large, small = await budget.reserve("mallory", 60), await budget.reserve("acme", 20)
    ended, kept = anyio.CancelScope(), anyio.CancelScope()
    large.may_end(ended)
    small.may_end(kept)
    async with clients(budget, ("globex", 40)) as (waiting,):
        await eventually(lambda: ended.cancel_called)
        assert budget.must_yield("mallory")
        assert not budget.must_yield("acme"), "it has no more than an equal share"
        large.release()
        await eventually(lambda: waiting.reservation is not None)
    assert not kept.cancel_called
    assert not budget.must_yield("mallory")


async def test_nobody_loses_memory_to_further_requests_of_a_tenant_that_has_some() -> None:
    budget = Budget(100)
    await budget.reserve("mallory", 60)
    async with clients(budget, ("mallory", 60)):
        assert budget.waiting == 1
        assert not budget.must_yield("mallory")


async def test_a_client_that_reads_keeps_its_memory() -> None:
    reservation = await Budget(100).reserve("acme", 60)
    scope = anyio.CancelScope()
    reservation.may_end(scope)
    reservation.end_if_unused(anyio.current_time() - 1)
    assert not scope.cancel_called
    reservation.end_if_unused(anyio.current_time() + 1)
    assert scope.cancel_called


@pytest.mark.parametrize(("held", "size", "free", "may"), [(0, 5, 0, True), (5, 5, 10, True), (5, 6, 10, False)])
def test_the_first_share_is_always_fair(held: int, size: int, free: int, may: bool) -> None:
    assert within_share(held, size, free) is may
