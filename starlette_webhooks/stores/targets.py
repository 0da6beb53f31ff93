"""The target of an endpoint's deliveries, which a store reads when it leases them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette_webhooks.delivery.deliveries import LeasedDelivery

__all__ = ["Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint with everything that an attempt needs. See `LeasedDelivery` for the attributes."""

    id: str
    tenant: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    proven: bool

    def delivery(
        self,
        event: tuple[int, str, str, bytes, str | None],
        *,
        id: int,
        endpoint: int,
        number: int,
        step: int,
        trigger: str,
        lease: int,
    ) -> LeasedDelivery:
        """Return a delivery to this endpoint.

        Args:
            event: Its position in the log, its id, its type, its payload and its trace context.
        """
        position, event_id, event_type, payload, trace = event
        return LeasedDelivery(
            id=id,
            event=position,
            endpoint=endpoint,
            number=number,
            step=step,
            trigger=trigger,
            lease=lease,
            event_id=event_id,
            event_type=event_type,
            payload=payload,
            tenant=self.tenant,
            endpoint_id=self.id,
            url=self.url,
            headers=self.headers,
            secrets=self.secrets,
            proven=self.proven,
            trace=trace,
        )
