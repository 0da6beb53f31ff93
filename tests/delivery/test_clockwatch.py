"""Jumps of the system's clock."""

from __future__ import annotations

import pytest

from starlette_webhooks.delivery.clockwatch import ClockWatch


class Clocks:
    """A time of day, and a clock that only moves forward."""

    def __init__(self) -> None:
        self.day = 1_700_000_000.0
        self.monotonic = 50.0

    def pass_time(self, seconds: float) -> None:
        self.day += seconds
        self.monotonic += seconds


def test_time_that_passes_is_no_jump_and_drift_is_none_either() -> None:
    clocks = Clocks()
    watch = ClockWatch(lambda: int(clocks.day * 1000), lambda: clocks.monotonic)
    for seconds in (0.0, 1.0, 86_400.0):
        clocks.pass_time(seconds)
        assert watch.look() == 0
    for _ in range(100):
        clocks.pass_time(10)
        clocks.day += 0.5
        assert watch.look() == 0


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 2.0, -2.0])
def test_a_jump_is_noticed_once_with_its_direction(jump: float) -> None:
    clocks = Clocks()
    watch = ClockWatch(lambda: int(clocks.day * 1000), lambda: clocks.monotonic)
    clocks.pass_time(5)
    clocks.day += jump
    assert watch.look() == pytest.approx(jump, abs=0.01)
    assert watch.look() == 0


def test_a_clock_that_jumped_is_not_trusted_for_ten_minutes() -> None:
    clocks = Clocks()
    watch = ClockWatch(lambda: int(clocks.day * 1000), lambda: clocks.monotonic)
    assert watch.settled
    clocks.day += 3600
    watch.look()
    clocks.pass_time(599)
    assert not watch.settled
    clocks.pass_time(2)
    assert watch.settled
