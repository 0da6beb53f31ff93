"""What a store is: where events, endpoints, deliveries and attempts are kept.

`StoredBackend` is the backend over any of them. A store for another database implements these protocols and runs the
contract suite in `tests/stores/test_contract.py`. A tenant's calls see and touch that tenant's objects only. Every call
raises `NotRunning` outside `lifespan`, and `BackendUnavailable` if the database cannot be used at the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.delivery.store import DeliveryListener, DeliveryStore
from starlette_webhooks.endpoints import Endpoint, EndpointChanges, EndpointStats
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.feed import Listener, Replay, StreamFilter
from starlette_webhooks.health import DatabaseHealth
from starlette_webhooks.meta import Meta
from starlette_webhooks.pagination import Page
from starlette_webhooks.submissions import Submission
from starlette_webhooks.types import Clock

__all__ = [
    "AttemptStore",
    "EndpointStore",
    "EventLog",
    "Feed",
    "Maintenance",
    "RecoverCursor",
    "RecoverWindow",
    "Recovered",
    "Redelivery",
    "Store",
]


class EventLog(Protocol):
    """The log of events, in order of commits."""

    def submit(self, events: Sequence[Event], *, due_in: int = 0) -> Submission:
        """Take events, all or none, and their deliveries, in one commit. Thread-safe; never blocks.

        Args:
            due_in: Milliseconds until the first attempt.

        Raises:
            NotRunning: Outside `lifespan`.
            QueueFull: Too many events wait to be written.
        """

    async def insert_for(self, event: Event, tenant: str, endpoint_id: str) -> Event:
        """Store a test event and deliver it to this endpoint alone, at once and ignoring its filters.

        Not at all if the endpoint is disabled.
        """

    async def list_events(self, tenant: str, query: EventQuery) -> Page[Event]:
        """A page, newest first by id."""

    async def get_event(self, tenant: str, event_id: str) -> Event | None:
        """One event by its public id."""


class Feed(Protocol):
    """The tail of the log, for streams. Positions are in order of commits, without gaps for each tenant."""

    def listen(self, listener: Listener) -> None:
        """Publish to this listener from now on."""

    def watch(self, tenant: str) -> None:
        """The tenant has its first open stream."""

    def unwatch(self, tenant: str) -> None:
        """The tenant's last stream is gone."""

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> Replay:
        """What a stream has missed. The tenant must be watched. See `Backend.replay`."""


class EndpointStore(Protocol):
    """Endpoints and their secrets."""

    async def list_endpoints(self, tenant: str, *, limit: int, cursor: str | None) -> Page[Endpoint]:
        """A page, newest first."""

    async def get_endpoint(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        """One endpoint."""

    async def endpoint_number(self, tenant: str, endpoint_id: str) -> int | None:
        """The number under which its deliveries are kept."""

    async def create_endpoint(self, tenant: str, changes: EndpointChanges, *, limit: int) -> Endpoint:
        """Create an endpoint with a secret, up to `limit` of them for a tenant. Raises `Conflict` beyond that."""

    async def update_endpoint(self, tenant: str, endpoint_id: str, changes: EndpointChanges) -> Endpoint | None:
        """Change an endpoint. Enabling it forgives its past failures.

        A URL of another origin clears the headers, unless the same call gives new ones. See `bound_to_origin`.
        """

    async def delete_endpoint(self, tenant: str, endpoint_id: str) -> bool:
        """Remove an endpoint with everything that depends on it. False if there is none."""

    async def get_secret(self, tenant: str, endpoint_id: str) -> str | None:
        """The current secret."""

    async def rotate_secret(self, tenant: str, endpoint_id: str, key: str) -> str | None:
        """Make `key` the secret; the one before stays valid for 24 hours.

        Raises `Conflict` if it is the secret already, or if too many are still valid.
        """


class AttemptStore(Protocol):
    """What was attempted."""

    async def list_attempts(self, tenant: str, query: AttemptQuery) -> Page[Attempt]:
        """A page, newest first. Raises `InvalidRequest` for an invalid cursor."""

    async def endpoint_stats(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime
    ) -> EndpointStats | None:
        """How deliveries to an endpoint went, by the hours that begin in the window or contain its start."""


@dataclass(frozen=True, slots=True)
class RecoverWindow:
    """What to recover: events from `since` until `until` (None: until now), with `missing` also those never tried."""

    since: datetime
    until: datetime | None
    missing: bool


@dataclass(frozen=True, slots=True)
class RecoverCursor:
    """Where recovering continues: behind an attempt while `phase` is `failed`, behind an event while it is `missing`.

    Attributes:
        until: The id that attempts must be below. It stays as it was at first: what fails again meanwhile would
            otherwise be recovered without end.
        after: The id to continue after; empty at the start of a phase.
    """

    phase: str
    until: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class Recovered:
    """How many deliveries a batch has queued, and where to continue; None at the end."""

    count: int
    cursor: RecoverCursor | None


class Redelivery(Protocol):
    """Delivering again. Both raise `Conflict` for a disabled endpoint."""

    async def resend(self, tenant: str, event_id: str, endpoint_id: str) -> bool:
        """Make the delivery of an event urgent, ignoring filters. False if there is no such event or endpoint.

        A pending delivery continues with its schedule if it fails. An attempt under way does not count: the event is
        delivered once more.
        """

    async def recover(
        self, tenant: str, endpoint_id: str, window: RecoverWindow, cursor: RecoverCursor | None
    ) -> Recovered | None:
        """Queue a batch of the deliveries that failed and never succeeded. None if there is no such endpoint.

        A delivery that waits for its next attempt becomes due now. With `window.missing`, events follow that match the
        endpoint's filters and were never attempted. Test events are left out: they were made up for one moment.
        """


class Maintenance(Protocol):
    """How long things are kept."""

    async def prune(self, before: datetime) -> None:
        """Remove events from before that time that have no delivery pending, in small batches.

        Also what endpoints left whose removal was interrupted.
        """

    async def erase(self, tenant: str) -> None:
        """Remove everything that is kept of a tenant."""


class Store(EventLog, Feed, EndpointStore, AttemptStore, DeliveryStore, Redelivery, Maintenance, Meta, Protocol):
    """A database with all of it.

    Attributes:
        clock: Seconds since the epoch. Tests replace it, before `lifespan`.
    """

    clock: Clock

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Open the database, bring its schema up to date, and follow it until the block ends; then commit what waits.

        Raises:
            BackendUnavailable: It cannot be opened.
        """

    def on_deliveries(self, listener: DeliveryListener | None) -> None:
        """Tell this one whenever deliveries were committed: by this process at once, by another within 50 ms."""

    def call_soon(self, fn: Callable[[], None]) -> None:
        """Call a function on the event loop, from any thread: at once if this is the loop's own."""

    @property
    def on_loop(self) -> bool:
        """Whether the caller is on the thread of the event loop that the store runs on."""

    def health(self) -> DatabaseHealth:
        """What the operator should know of the database, as `health()["database"]` shows it; JSON-able.

        `problem` says why it cannot be used at the moment, or is None.
        """
