"""What the dispatcher needs of a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from starlette_webhooks.delivery.claims import ClaimRequest
from starlette_webhooks.delivery.deliveries import Claim, DisabledEndpoint, DuePage, LeasedDelivery, Outcome

__all__ = ["DeliveryListener", "DeliveryStore"]


class DeliveryListener(Protocol):
    """What is notified of new deliveries, on the event loop."""

    def wake(self, endpoints: Iterable[int] = ()) -> None:
        """Deliveries were added.

        Args:
            endpoints: The numbers of their endpoints; none if they are unknown.
        """

    def wake_urgent(self, endpoints: Iterable[int]) -> None:
        """Urgent deliveries to these endpoints were added."""


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

        An endpoint whose rate limit or `Retry-After` holds it back is due when that ends (see `claims.Holds`).
        """

    async def urgent(self, *, due_by: int) -> Sequence[int]:
        """Enabled endpoints with urgent deliveries due by then: those that a person asked for by a test or a resend."""

    async def claim(self, request: ClaimRequest) -> Claim:
        """Lease deliveries that are due, so that no other process makes an attempt at them until the leases end.

        A lease that ends by itself, as that of a process that was killed, makes the delivery due again.
        """

    async def release(self, deliveries: Sequence[LeasedDelivery], *, due: int) -> None:
        """Give leases back that are still held: the deliveries are due at that time, as if they had not been leased."""

    async def record(self, outcome: Outcome, *, disable_after: int) -> DisabledEndpoint | None:
        """Record an attempt, and remove or reschedule its delivery if its lease is still held.

        What belongs to an endpoint that was deleted meanwhile is dropped. An endpoint that is disabled by the outcome
        gets its `endpoint.disabled` event in the same transaction (see `delivery.records.disabled_event`).

        Args:
            disable_after: Milliseconds of nothing but failures that disable an endpoint; 0 for never.

        Returns:
            The endpoint, if this attempt has disabled it.
        """

    async def set_aside(self, delivery: LeasedDelivery) -> None:
        """Make no further attempt at a delivery unless somebody resends it: its outcome cannot be recorded."""

    async def fix_times(self) -> int:
        """Move what was stored by a clock that was ahead, so that it is as far from now as it was from then.

        Called at the start, and when the clock was set back. Returns how many deliveries it moved.
        """
