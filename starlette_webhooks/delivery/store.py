"""What the dispatcher needs of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from starlette_webhooks.delivery.deliveries import Claim, DisabledEndpoint, DuePage, Outcome
from starlette_webhooks.delivery.slots import Capacity, SlotRequest

__all__ = ["DeliveryStore"]


class DeliveryStore(Protocol):
    """Where deliveries wait, shared by the dispatchers of all processes.

    Each call happens as a whole or not at all. Its work grows with what it is asked for and never with the number of
    deliveries that wait. `delivery.claims` plans a claim and `delivery.records` decides what an outcome changes, so
    that all stores agree.

    Raises:
        BackendUnavailable: The store cannot be reached or cannot write at the moment. Call again later.
    """

    def now(self) -> int:
        """The time by which stored times go, in milliseconds since the epoch."""

    async def due(self, *, after: int, due_by: int) -> DuePage:
        """The next enabled endpoints, by number above `after`, that have a delivery due by then.

        An endpoint whose rate limit or `Retry-After` holds it back is due when that ends.
        """

    async def claim(
        self, requests: Sequence[SlotRequest], capacity: Capacity, tenants: Mapping[str, int], *, now: int, lease: int
    ) -> Claim:
        """Lease deliveries that are due, so that no other process makes an attempt at them until `lease`.

        A lease that ends by itself, as that of a process that was killed, makes the delivery due again.

        Args:
            requests: The endpoints to look at.
            capacity: The slots to fill.
            tenants: Attempts under way by tenant.
            lease: When the leases end.
        """

    async def record(self, outcome: Outcome, *, disable_after: int) -> DisabledEndpoint | None:
        """Record an attempt, and remove or reschedule its delivery if its lease is still held.

        What belongs to an endpoint that was deleted meanwhile is dropped. An endpoint that is disabled by the outcome
        gets its `endpoint.disabled` event in the same transaction (see `delivery.records.disabled_event`).

        Args:
            disable_after: Milliseconds of nothing but failures that disable an endpoint; 0 for never.

        Returns:
            The endpoint, if this attempt has disabled it.
        """
