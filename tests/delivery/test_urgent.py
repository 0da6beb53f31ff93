"""Slots for tests and resends."""

from __future__ import annotations

from starlette_webhooks.delivery.slots import SlotRequest, allocate
from starlette_webhooks.delivery.urgent import Urgent


def endpoints(requests: list[SlotRequest]) -> list[int]:
    return [request.endpoint for request in requests]


def test_an_endpoint_gets_several_slots_so_that_a_test_that_hangs_does_not_hold_up_the_next() -> None:
    urgent = Urgent(concurrency=128)
    for _ in range(4):
        urgent.add([1])
        assert endpoints(urgent.take()) == [1]
        urgent.started(1, "acme")
    urgent.add([1])
    assert urgent.take() == []
    assert not urgent, "it is blocked, and there is nothing to do"
    urgent.finished(1, "acme")
    assert urgent
    assert endpoints(urgent.take()) == [1]


def test_one_tenant_gets_a_quarter_of_the_slots_at_most() -> None:
    urgent = Urgent(concurrency=128)
    asked = [SlotRequest(request.endpoint, request.lane, request.slots, 0, "acme") for request in filled(urgent)]
    slots = allocate(asked, urgent.capacity, urgent.tenants)
    assert sum(slots.values()) == 8
    for endpoint, count in slots.items():
        for _ in range(count):
            urgent.started(endpoint, "acme")
    others = [SlotRequest(request.endpoint, request.lane, request.slots, 0, "globex") for request in filled(urgent)]
    assert sum(allocate(others, urgent.capacity, urgent.tenants).values()) == 8


def filled(urgent: Urgent) -> list[SlotRequest]:
    urgent.add(range(100, 200))
    return urgent.take()


def test_slots_are_bounded_and_endpoints_without_one_ask_again_when_one_is_free() -> None:
    urgent = Urgent(concurrency=1)
    urgent.add(range(20))
    assert len(urgent.take()) == 20
    for endpoint in range(8):
        urgent.started(endpoint, f"t{endpoint}")
    urgent.block(range(8, 20))
    assert urgent.capacity.free == 0
    assert not urgent
    urgent.finished(3, "t3")
    assert endpoints(urgent.take()) == list(range(8, 20))
    assert (urgent.in_flight, len(urgent.tenants)) == (7, 7)
