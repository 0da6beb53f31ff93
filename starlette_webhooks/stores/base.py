"""The interfaces of a store, which stores events, endpoints, deliveries and attempts.

`StoredBackend` is the backend for all stores. A store for another database implements these protocols and passes the
contract suite in `tests/stores/test_contract.py`. Calls for a tenant only see and change objects of that tenant. Every
call raises `NotRunning` outside `lifespan`, and `BackendUnavailable` if the database is unavailable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.delivery.store import DeliveryListener, DeliveryStore
from starlette_webhooks.endpoints import SECRET_OVERLAP, Endpoint, EndpointChanges, EndpointStats
from starlette_webhooks.event_states import EventDelivery, EventSearch, EventSummary
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.feed import CommittedEvents, Listener, Replay, StreamFilter
from starlette_webhooks.health import DatabaseHealth
from starlette_webhooks.meta import Meta
from starlette_webhooks.operations import (
    EndpointQuery,
    EndpointStatus,
    EventHeader,
    Overview,
    RecentEvents,
    TenantQuery,
    TenantStatus,
)
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.limits import LOOKED_AT
from starlette_webhooks.submissions import Submission
from starlette_webhooks.types import Clock
from starlette_webhooks.undelivered import FoundDelivery, Undelivered, UndeliveredQuery

__all__ = [
    "AttemptStore",
    "CountedMissing",
    "EndpointStore",
    "EventLog",
    "EventStateStore",
    "Feed",
    "Maintenance",
    "Operations",
    "RecoverCursor",
    "RecoverWindow",
    "Recovered",
    "Redelivery",
    "Replacement",
    "SecretStore",
    "Store",
    "StoredSecrets",
    "UndeliveredStore",
]


class EventLog(Protocol):
    """The log of events, in order of commits."""

    def submit(self, events: Sequence[Event], *, due_in: int = 0) -> Submission:
        """Store events and their deliveries, all or none, in one commit. Thread-safe, and never blocks.

        Args:
            due_in: Milliseconds until the first attempt.

        Raises:
            NotRunning: Outside `lifespan`.
            QueueFull: Too many events wait for their commit.
        """

    async def insert_for(self, event: Event, tenant: str, endpoint_id: str) -> Event:
        """Store a test event and deliver it to this endpoint only, immediately and ignoring its filters.

        Does nothing if the endpoint is disabled.
        """

    async def list_events(self, tenant: str, query: EventQuery) -> Page[Event]:
        """Return a page of events, newest first by id."""

    async def get_event(self, tenant: str, event_id: str) -> Event | None:
        """Return an event by its public id."""


class Feed(Protocol):
    """The tail of the log, for streams. Positions are in order of commits and have no gaps within a tenant."""

    def listen(self, listener: Listener) -> None:
        """Publish events to this listener from now on."""

    def watch(self, tenant: str) -> None:
        """Note that a tenant has its first open stream."""

    def unwatch(self, tenant: str) -> None:
        """Note that a tenant's last stream has ended."""

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> Replay:
        """Return what a stream has missed. The tenant must be watched. See `Backend.replay`."""

    async def position(self, tenant: str) -> str:
        """Return what a stream resumes after that starts now. See `Backend.position`."""


class EndpointStore(Protocol):
    """Endpoints and their secrets."""

    async def list_endpoints(self, tenant: str, *, limit: int, cursor: str | None) -> Page[Endpoint]:
        """A page, newest first."""

    async def get_endpoint(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        """One endpoint."""

    async def endpoint_number(self, tenant: str, endpoint_id: str) -> int | None:
        """Return the number that identifies the endpoint in deliveries."""

    async def create_endpoint(self, tenant: str, changes: EndpointChanges, *, limit: int) -> Endpoint:
        """Create an endpoint with a secret. Raises `Conflict` if the tenant already has `limit` endpoints."""

    async def update_endpoint(self, tenant: str, endpoint_id: str, changes: EndpointChanges) -> Endpoint | None:
        """Change an endpoint. Enabling it resets its failures.

        A URL of another origin removes the headers, unless the same call sets new ones. See `bound_to_origin`.
        """

    async def delete_endpoint(self, tenant: str, endpoint_id: str) -> bool:
        """Delete an endpoint with everything that depends on it. Returns False if there is none."""

    async def get_secret(self, tenant: str, endpoint_id: str) -> str | None:
        """Return the current secret."""

    async def rotate_secret(
        self, tenant: str, endpoint_id: str, key: str, *, overlap: int = SECRET_OVERLAP
    ) -> str | None:
        """Make `key` the secret. The previous ones stay valid for `overlap` seconds at most.

        Raises `Conflict` if it already is the secret, or if too many secrets are still valid.
        """


@dataclass(frozen=True, slots=True)
class StoredSecrets:
    """The secrets of an endpoint as they are stored, possibly encrypted.

    Attributes:
        endpoint: The number under which its deliveries are kept.
        keys: Its secrets.
        headers: A JSON object.
    """

    endpoint: int
    tenant: str
    keys: Sequence[str] = field(repr=False)
    headers: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Replacement:
    """A stored text to put in place of another, if that is still there: of a secret, or of all headers."""

    endpoint: int
    kind: Literal["key", "headers"]
    old: str = field(repr=False)
    new: str = field(repr=False)


class SecretStore(Meta, Protocol):
    """Secrets of all tenants, for the encryption at rest. The store itself knows nothing of it."""

    async def sealing_keys(self) -> set[str]:
        """The ids of the keys that secrets of endpoints are encrypted with."""

    async def stored_secrets(self, after: int, limit: int) -> Sequence[StoredSecrets]:
        """The secrets of endpoints with numbers above `after`, in their order."""

    async def replace_secrets(self, changes: Sequence[Replacement]) -> None:
        """Replace stored texts, each only if it is still as given."""


class AttemptStore(Protocol):
    """Attempts and their statistics."""

    async def list_attempts(self, tenant: str, query: AttemptQuery) -> Page[Attempt]:
        """A page, newest first. Raises `InvalidRequest` for an invalid cursor."""

    async def endpoint_stats(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime
    ) -> EndpointStats | None:
        """Return the attempts to an endpoint by hour, for the hours that begin in the window or contain its start."""


@dataclass(frozen=True, slots=True)
class RecoverWindow:
    """What to recover: failed events from `since` to `until` (None means now). `missing` adds those never attempted."""

    since: datetime
    until: datetime | None
    missing: bool


@dataclass(frozen=True, slots=True)
class RecoverCursor:
    """Where recovery continues: after an attempt while `phase` is `failed`, after an event while it is `missing`.

    Attributes:
        until: The id that attempts must be below. It does not change during a recovery, which would otherwise never
            end if deliveries fail again.
        after: The id to continue after. Empty at the start of a phase.
    """

    phase: str
    until: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class Recovered:
    """How many deliveries a batch has queued, and where to continue, or None at the end."""

    count: int
    cursor: RecoverCursor | None


class Redelivery(Protocol):
    """Redelivery of events. Both methods raise `Conflict` for a disabled endpoint."""

    async def resend(self, tenant: str, event_id: str, endpoint_id: str) -> bool:
        """Deliver an event urgently, ignoring filters. Returns False if there is no such event or endpoint.

        If this fails, a pending delivery continues with its schedule. An attempt that is already running does not
        count: the event is delivered once more.
        """

    async def recover(
        self, tenant: str, endpoint_id: str, window: RecoverWindow, cursor: RecoverCursor | None
    ) -> Recovered | None:
        """Queue a batch of deliveries that failed and never succeeded. Returns None if there is no such endpoint.

        Deliveries that wait for a retry become due now. With `window.missing`, events that match the endpoint's filters
        and were never attempted follow. Test events are left out, since nobody needs them later.
        """


@dataclass(frozen=True, slots=True)
class CountedMissing:
    """How many events of a batch were never sent to an endpoint, and the last one of the batch, or None at the end."""

    count: int
    last: str | None


class UndeliveredStore(Protocol):
    """Deliveries that no endpoint has confirmed, of all tenants or of one."""

    async def find_undelivered(self, query: UndeliveredQuery, *, looked_at: int = LOOKED_AT) -> Page[Undelivered]:
        """Return a page. See `UndeliveredQuery`. Raises `InvalidRequest` for an invalid cursor.

        Args:
            looked_at: How many deliveries the page looks at, at most.
        """

    async def find_deliveries(self, tenant: str, named: Sequence[tuple[str, str]]) -> Sequence[FoundDelivery]:
        """Return those of these pairs of an event's and an endpoint's id that the tenant has."""

    async def requeue(self, deliveries: Sequence[tuple[int, int]]) -> Sequence[int]:
        """Make deliveries due now, given as `Undelivered.numbers`, in one commit.

        Leaves out those that are due soon anyway, that an attempt is running for, that succeeded meanwhile, and those
        of disabled endpoints.

        Returns:
            The number of the endpoint of each delivery that is due now.
        """

    async def count_missing(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None, after: str | None
    ) -> CountedMissing | None:
        """Count what `Redelivery.recover` would add with `window.missing`, from a batch of events after `after`.

        Returns None if there is no such endpoint. Raises `Conflict` for a disabled endpoint.
        """


class EventStateStore(Protocol):
    """The states of the deliveries of events."""

    async def search_events(self, query: EventSearch, *, looked_at: int = LOOKED_AT) -> Page[EventSummary]:
        """Return a page of events with the states of their deliveries. Empty if there is no such endpoint.

        Args:
            looked_at: How many events the page looks at, at most.
        """

    async def event_deliveries(
        self, tenant: str, event_id: str, *, limit: int, cursor: str | None
    ) -> Page[EventDelivery] | None:
        """Return a page of the tenant's endpoints, newest first, with the delivery of an event to each of them.

        Returns None if there is no such event.
        """


class Operations(Protocol):
    """What operators look at, over all tenants."""

    async def overview(self) -> Overview:
        """Return figures. Takes milliseconds, however much there is. See `Overview`."""

    async def find_tenants(self, query: TenantQuery) -> Page[TenantStatus]:
        """Return a page of tenants, by name."""

    async def find_endpoints(self, query: EndpointQuery) -> Page[EndpointStatus]:
        """Return a page of endpoints. See `EndpointQuery`."""

    async def find_event(self, event_id: str) -> Event | None:
        """Return an event by its public id."""

    async def recent_events(self, query: RecentEvents) -> Page[EventHeader]:
        """Return a page of the last committed events. Raises `InvalidRequest` for an invalid cursor."""

    async def report_process(self, name: str) -> None:
        """Report that a process that delivers is alive, and forget those that have not reported for long.

        The name starts with `processes.PREFIX`. `drop_meta` removes it.
        """


class Maintenance(Protocol):
    """The removal of old data."""

    async def prune(self, before: datetime) -> None:
        """Remove events from before that time that have no pending deliveries, in small batches.

        Also removes the rest of endpoints whose deletion was interrupted.
        """

    async def erase(self, tenant: str) -> None:
        """Remove everything that is stored for a tenant."""


class Store(
    EventLog,
    Feed,
    EndpointStore,
    AttemptStore,
    DeliveryStore,
    Redelivery,
    UndeliveredStore,
    EventStateStore,
    Operations,
    Maintenance,
    SecretStore,
    CommittedEvents,
    Protocol,
):
    """A database that implements all of these interfaces.

    Attributes:
        clock: Returns seconds since the epoch. Tests replace it before `lifespan`.
        operator: The tenant that gets operational events. None for none. Set before `lifespan`.
    """

    clock: Clock
    operator: str | None

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Open the database, migrate its schema, and follow it until the block ends. Then commit what waits.

        Raises:
            BackendUnavailable: The database cannot be opened.
        """

    def on_deliveries(self, listener: DeliveryListener | None) -> None:
        """Notify this listener of committed deliveries: those of this process immediately, others within 50 ms."""

    def call_soon(self, fn: Callable[[], None]) -> None:
        """Call a function on the event loop, from any thread. On the loop's own thread, it is called directly.

        Does nothing if the loop has ended, or in a forked child.
        """

    @property
    def on_loop(self) -> bool:
        """Return whether the caller is on the thread of the store's event loop."""

    def health(self) -> DatabaseHealth:
        """Return the state of the database for `health()["database"]`, as JSON-compatible values.

        `problem` says why it is unavailable, or is None.
        """
