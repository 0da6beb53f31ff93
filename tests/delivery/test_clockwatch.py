"""Jumps of the system's clock."""

from __future__ import annotations

import pytest

from starlette_webhooks.delivery.clockwatch import ClockWatch
from tests.clock import Clock


def watched() -> tuple[Clock, ClockWatch]:
    clock = Clock(speed=0)
    return clock, ClockWatch(lambda: int(clock() * 1000), clock.monotonic)


def test_neither_passing_time_nor_drift_is_a_jump() -> None:
    clock, watch = watched()
    for seconds in (0.0, 1.0, 86_400.0):
        clock.advance(seconds)
        assert watch.look() == 0
    for _ in range(100):
        clock.advance(10)
        clock.set_by(0.5)
        assert watch.look() == 0


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 2.0, -2.0])
def test_a_jump_is_noticed_once_with_its_direction(jump: float) -> None:
    clock, watch = watched()
    clock.advance(5)
    clock.set_by(jump)
    assert watch.look() == pytest.approx(jump, abs=0.01)
    assert watch.look() == 0


def test_a_clock_that_jumped_is_not_trusted_for_ten_minutes() -> None:
    clock, watch = watched()
    assert watch.settled
    clock.set_by(3600)
    watch.look()
    clock.advance(599)
    assert not watch.settled
    clock.advance(2)
    assert watch.settled
