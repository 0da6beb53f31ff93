"""Helpers of the stores' contract suite: a clock, and the steps of a dispatcher."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeAlias

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.delivery.claims import ClaimRequest
from starlette_webhooks.delivery.deliveries import Claim, DisabledEndpoint, LeasedDelivery, Outcome
from starlette_webhooks.delivery.pacing import Pace
from starlette_webhooks.delivery.slots import Capacity, Lane, SlotRequest
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.identifiers import first_id
from starlette_webhooks.payloads import new_event
from starlette_webhooks.stores.base import RecoverCursor, RecoverWindow, Store

MakeStore: TypeAlias = Callable[[], Store]

URL = "https://example.com/hook"
LEASE = 25_000
MINUTE = 60_000
DAY = 86_400_000
CAPACITY = Capacity(free=100, reserve=0, degraded=50)


class Listening:
    """Records the deliveries that a store notifies it of."""

    def __init__(self) -> None:
        self.woken: list[int] = []
        self.urgent: list[int] = []
        self.unknown = 0

    def wake(self, endpoints: Iterable[int] = ()) -> None:
        known = list(endpoints)
        self.woken += known
        self.unknown += not known

    def wake_urgent(self, endpoints: Iterable[int]) -> None:
        self.urgent += endpoints


@asynccontextmanager
async def running(make_store: MakeStore) -> AsyncGenerator[Store]:
    """A store that runs until the block ends."""
    store = make_store()
    async with store.lifespan():
        yield store


def event(tenant: str = "acme", type: str = "invoice.paid", **options: Any) -> Event:
    """An event that happens now."""
    return new_event(type, options.pop("data", {"amount": 9900}), tenant=tenant, **options)


async def emit(store: Store, tenant: str = "acme", type: str = "invoice.paid", **options: Any) -> Event:
    """Store an event."""
    (stored,) = await store.submit([event(tenant, type, **options)]).wait()
    return stored


async def add(store: Store, tenant: str = "acme", **changes: Any) -> Endpoint:
    """Create an endpoint."""
    return await store.create_endpoint(tenant, EndpointChanges(**{"url": URL, **changes}), limit=1000)


async def ids(store: Store, tenant: str = "acme", **query: Any) -> list[str]:
    """The ids of a page of events."""
    return [one.id for one in (await store.list_events(tenant, EventQuery(**query))).items]


async def due(store: Store, *, within: int = 1000) -> dict[int, float]:
    """Return when the deliveries of endpoints are due, for endpoints with some within this many milliseconds."""
    found: dict[int, float] = {}
    after: int | None = 0
    while after is not None:
        page = await store.due(after=after, due_by=store.now() + within)
        found.update({one.endpoint: one.due for one in page.endpoints})
        after = page.after
    return found


async def urgent(store: Store) -> list[int]:
    """The endpoints with urgent deliveries that are due."""
    return list((await store.due(after=0, due_by=store.now())).urgent)


async def claim(
    store: Store,
    *endpoints: int,
    each: int = 8,
    capacity: Capacity = CAPACITY,
    lane: Lane = Lane.HEALTHY,
    unproven: Pace | None = None,
    **tenants: int,
) -> Claim:
    """Claim from these endpoints, or from all, as a process with running attempts for these tenants.

    New endpoints are not held back, unless there is a pace for them.
    """
    numbers = endpoints or tuple(await due(store))
    requests = [SlotRequest(number, lane, each, 0) for number in numbers]
    now = store.now()
    return await store.claim(
        ClaimRequest(
            requests=requests, capacity=capacity, tenants=tenants, now=now, lease=now + LEASE, unproven=unproven
        )
    )


async def number_of(store: Store, endpoint: Endpoint) -> int:
    """Return the number of an endpoint in the store."""
    number = await store.endpoint_number(endpoint.tenant, endpoint.id)
    assert number is not None
    return number


_NUMBERS = count(1)


def outcome(store: Store, delivery: LeasedDelivery, status: int = 200, **values: Any) -> Outcome:
    """Return the outcome of an attempt that ends now. `status` is 0 if there was no response."""
    at = store.now()
    return Outcome(
        delivery=delivery,
        # Ids minted in the future would also move those of other tests.
        attempt_id=first_id("atmpt_", at)[:-6] + f"{next(_NUMBERS):06}",
        ok=200 <= status < 300,
        started=at,
        ended=at,
        duration_ms=10,
        status_code=status,
        **values,
    )


async def record(
    store: Store, delivery: LeasedDelivery, status: int = 200, *, disable_after: int = 0, **values: Any
) -> DisabledEndpoint | None:
    """Record an attempt that ends now."""
    return await store.record(outcome(store, delivery, status, **values), disable_after=disable_after)


async def attempt(store: Store, status: int = 200, **values: Any) -> LeasedDelivery:
    """Claim the one delivery that is due, and record an attempt at it."""
    (delivery,) = (await claim(store)).deliveries
    await record(store, delivery, status, **values)
    return delivery


async def attempts(store: Store, tenant: str = "acme", **query: Any) -> Sequence[Attempt]:
    """Newest first."""
    return (await store.list_attempts(tenant, AttemptQuery(limit=250, **query))).items


async def recover(
    store: Store,
    endpoint: Endpoint,
    *,
    since: int = 60 * MINUTE,
    until: int | None = None,
    missing: bool = False,
    tenant: str | None = None,
) -> int | None:
    """Recover everything since this many milliseconds ago, batch by batch."""
    window = RecoverWindow(moment(store, -since), None if until is None else moment(store, -until), missing)
    cursor: RecoverCursor | None = None
    total = 0
    while True:
        recovered = await store.recover(tenant or endpoint.tenant, endpoint.id, window, cursor)
        if recovered is None:
            return None
        total += recovered.count
        cursor = recovered.cursor
        if cursor is None:
            return total


async def count_missing(
    store: Store, endpoint: Endpoint, *, since: int = 60 * MINUTE, tenant: str | None = None
) -> int | None:
    """Count what `recover` with `missing` would add, batch by batch."""
    after: str | None = None
    total = 0
    while True:
        found = await store.count_missing(tenant or endpoint.tenant, endpoint.id, moment(store, -since), None, after)
        if found is None:
            return None
        total += found.count
        after = found.last
        if after is None:
            return total


def moment(store: Store, milliseconds: int = 0) -> datetime:
    """Return the time in this many milliseconds."""
    return datetime.fromtimestamp((store.now() + milliseconds) / 1000, UTC)
