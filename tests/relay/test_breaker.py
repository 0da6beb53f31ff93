"""When the target of a relay counts as down."""

from __future__ import annotations

from starlette_webhooks.relay.breaker import Breaker
from tests.clock import VirtualTime


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
