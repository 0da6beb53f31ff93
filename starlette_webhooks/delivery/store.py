"""What the dispatcher needs from a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from starlette_webhooks.delivery.claims import ClaimRequest
from starlette_webhooks.delivery.deliveries import Claim, DisabledEndpoint, DuePage, LeasedDelivery, Outcome
from starlette_webhooks.delivery.pacing import UNPROVEN, Pace

__all__ = ["DeliveryListener", "DeliveryStore"]


class DeliveryListener(Protocol):
    """Is notified of new deliveries, on the event loop."""

    def wake(self, endpoints: Iterable[int] = ()) -> None:
        """Deliveries were added.

        Args:
            endpoints: The numbers of their endpoints. Empty if they are unknown.
        """

    def wake_urgent(self, endpoints: Iterable[int]) -> None:
        """Urgent deliveries to these endpoints were added."""


class DeliveryStore(Protocol):
    """Stores deliveries for the dispatchers of all processes.

    Each call is atomic. Its cost grows with what is requested, and never with the number of waiting deliveries.
    `delivery.claims` plans claims and `delivery.records` decides what an outcome changes, so that all stores agree.

    Raises:
        BackendUnavailable: The store cannot be reached or cannot write. Call again later.
    """

    def now(self) -> int:
        """Return the time by the store's clock, in milliseconds since the epoch."""

    async def due(self, *, after: int, due_by: int, unproven: Pace | None = UNPROVEN) -> DuePage:
        """Return the next enabled endpoints, by number above `after`, that have a delivery due by then.

        An endpoint that its pace or `Retry-After` delays is due when that ends (see `claims.Holds`). Each page also
        names the enabled endpoints with urgent deliveries that are due now: those requested by a test or a resend.

        Args:
            unproven: See `ClaimRequest`.
        """

    async def claim(self, request: ClaimRequest) -> Claim:
        """Lease due deliveries, so that no other process makes an attempt at them until the leases end.

        When a lease expires, for example because its process was killed, the delivery is due again. It may need a call
        of `due` before it is found, as may whatever was stored late.
        """

    async def release(self, deliveries: Sequence[LeasedDelivery], *, due: int) -> None:
        """Release leases that are still held: the deliveries are due at that time, as if they had not been leased."""

    async def record(self, outcome: Outcome, *, disable_after: int) -> DisabledEndpoint | None:
        """Record an attempt, and remove or reschedule its delivery if its lease is still held.

        Drops records of endpoints that have been deleted. The events that the outcome makes, such as
        `endpoint.disabled`, are stored in the same transaction (see `delivery.notices`).

        Args:
            disable_after: Milliseconds without a success after which a failing endpoint is disabled. 0 means never.

        Returns:
            The endpoint, if this attempt has disabled it.
        """

    async def set_aside(self, delivery: LeasedDelivery) -> None:
        """Make no further attempts at a delivery whose outcome cannot be recorded, unless somebody resends it."""

    async def fix_times(self) -> int:
        """Move times that were stored while the clock was ahead, so that they are as far from now as from then.

        Called at startup, and when the clock was set back. Returns how many deliveries it moved.
        """
