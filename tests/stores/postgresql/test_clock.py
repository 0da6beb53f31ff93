"""The clock of the server, as a process knows it."""

from __future__ import annotations

import time

import pytest

from starlette_webhooks.stores.postgresql.clock import ServerClock


class Machine:
    """A monotonic clock, and a server that answers its own time after a while."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ahead = 5_000.0

    def monotonic(self) -> float:
        return self.now

    def asked(self, there: float, back: float) -> float:
        """Return the server's time, for a query that takes this many seconds there and back."""
        self.now += there
        answer = self.now + self.ahead
        self.now += back
        return answer


def test_unmeasured_clock_is_that_of_the_machine() -> None:
    assert ServerClock()() == pytest.approx(time.time(), abs=1)


def test_clock_is_measured_to_half_a_round_trip() -> None:
    machine = Machine()
    clock = ServerClock(machine.monotonic)
    clock.measure(lambda: machine.asked(0.001, 0.003))
    assert clock() == pytest.approx(machine.now + machine.ahead, abs=0.002)
    machine.now += 60
    assert clock() == pytest.approx(machine.now + machine.ahead, abs=0.002)


def test_slow_measurement_does_not_spoil_a_good_one() -> None:
    machine = Machine()
    clock = ServerClock(machine.monotonic)
    clock.measure(lambda: machine.asked(0.001, 0.001))
    clock.measure(lambda: machine.asked(0.0, 2.0))
    assert clock() == pytest.approx(machine.now + machine.ahead, abs=0.001)


def test_server_whose_clock_was_set_is_followed() -> None:
    machine = Machine()
    clock = ServerClock(machine.monotonic)
    clock.measure(lambda: machine.asked(0.001, 0.001))
    machine.ahead += 3600
    clock.measure(lambda: machine.asked(0.1, 0.1))
    assert clock() == pytest.approx(machine.now + machine.ahead, abs=0.1)


def test_old_measurement_is_replaced_as_clocks_drift() -> None:
    machine = Machine()
    clock = ServerClock(machine.monotonic)
    clock.measure(lambda: machine.asked(0.001, 0.001))
    machine.now += 3600
    machine.ahead += 0.05
    clock.measure(lambda: machine.asked(0.01, 0.01))
    assert clock() == pytest.approx(machine.now + machine.ahead, abs=0.01)
