"""Token buckets of many tenants: memory is bounded, and nobody gets a full bucket by being forgotten."""

from __future__ import annotations

from starlette_webhooks.token_buckets import TokenBuckets
from tests.clock import Clock

MANY = 10_000


def test_a_tenant_is_forgotten_once_its_bucket_is_full_again() -> None:
    clock = Clock(speed=0)
    buckets = TokenBuckets(per_second=1, capacity=10, clock=clock.monotonic)
    assert buckets.take("first", 10) == 0
    for number in range(MANY):
        assert buckets.take(f"tenant-{number}") == 0
    # Its bucket is still empty, so it was not forgotten.
    assert buckets.take("first", 10) == 10
    clock.advance(10)
    for number in range(MANY):
        buckets.take(f"other-{number}")
    assert buckets.take("first", 10) == 0
