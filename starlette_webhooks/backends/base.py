"""The contract of all backends, which routes, streams and emitters rely on."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.backends.operations import Operations
from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.endpoints import SECRET_OVERLAP, Endpoint, EndpointChanges, EndpointStats
from starlette_webhooks.event_types import EventTypes, SyncResult
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.feed import CommittedEvents, Listener, Replay, StreamFilter
from starlette_webhooks.health import Health
from starlette_webhooks.meta import Meta
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.pagination import Page
from starlette_webhooks.submissions import Submission
from starlette_webhooks.telemetry import Telemetry
from starlette_webhooks.types import Clock

__all__ = ["Backend", "PortalAccess"]


@dataclass(frozen=True, slots=True)
class PortalAccess:
    """The URL where a customer manages endpoints, and when it expires."""

    # Anyone who opens the URL is signed in.
    url: str = field(repr=False)
    expires_at: datetime


class Backend(Operations, ABC):
    """Stores, delivers and publishes events.

    All methods except `submit` are called on the event loop. Outside `lifespan`, they raise `NotRunning`. Methods with
    a tenant only see and change objects of that tenant. Objects of other tenants do not exist for them.
    """

    name: ClassVar[str]
    mints_ids: ClassVar[bool] = True
    """Whether events get their public id at emit. If False, the backend assigns it when it accepts the event."""

    signature_headers: ClassVar[str | None] = None
    """The signature headers, `webhook`, `svix` or `both`, if the backend determines them. None for the settings'."""

    outbox: Outbox | None = None
    """The outbox for `emit(..., within=)` that the backend has in its own database, and empties itself."""

    telemetry: Telemetry | None = None
    """Spans and metrics of attempts, or None. Set before `lifespan`."""

    @abstractmethod
    def lifespan(self, event_types: EventTypes) -> AbstractAsyncContextManager[None]:
        """Open the backend, run its tasks, and on exit drain and close it. Entered once."""

    # Emitting

    @abstractmethod
    def submit(self, events: Sequence[Event]) -> Submission:
        """Accept events, all or none, in one commit. Thread-safe, and never blocks.

        Raises:
            NotRunning: Outside `lifespan`.
            QueueFull: Too many events wait for their commit.
        """

    async def send(self, events: Sequence[Event]) -> Sequence[Event]:
        """Submit events and wait until the backend has accepted them. Raises `BackendError` if it does not."""
        return await self.submit(events).wait()

    def event_time(self) -> int:
        """Return the time for new events, in milliseconds since the epoch. Thread-safe."""
        return time.time_ns() // 1_000_000

    # Reading

    @abstractmethod
    async def list_events(self, tenant: str, query: EventQuery) -> Page[Event]: ...

    @abstractmethod
    async def get_event(self, tenant: str, id: str) -> Event | None: ...

    @abstractmethod
    async def list_attempts(self, tenant: str, query: AttemptQuery) -> Page[Attempt]: ...

    # Streaming

    @abstractmethod
    def listen(self, listener: Listener) -> None:
        """Publish events to this listener from now on. Called once, before any `watch`."""

    @abstractmethod
    def watch(self, tenant: str) -> None:
        """Note that a tenant has its first open stream."""

    @abstractmethod
    def unwatch(self, tenant: str) -> None:
        """Note that a tenant's last stream has ended. Ignored outside `lifespan`. Sync: it runs in cancelled tasks."""

    @abstractmethod
    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> Replay:
        """Return what a stream has missed.

        Args:
            after: The `Last-Event-ID` that it resumes after, or the position of the last sent entry if the stream fell
                behind. None starts from now on, with an empty replay that still `covers` everything that was committed
                before.
        """

    @abstractmethod
    async def position(self, tenant: str) -> str:
        """Return the id that a stream resumes after if it starts now, even if the tenant has no events."""

    @property
    def committed(self) -> CommittedEvents | None:
        """The log for readers that continue where they stopped. None for backends without one."""
        return None

    # Endpoints

    @abstractmethod
    async def list_endpoints(self, tenant: str, *, limit: int, cursor: str | None) -> Page[Endpoint]:
        """Return a page of endpoints, newest first."""

    @abstractmethod
    async def get_endpoint(self, tenant: str, id: str) -> Endpoint | None: ...

    @abstractmethod
    async def create_endpoint(self, tenant: str, changes: EndpointChanges) -> Endpoint:
        """Create an endpoint. Raises `InvalidBody` for a forbidden URL, and `Conflict` at the limit of endpoints."""

    @abstractmethod
    async def update_endpoint(self, tenant: str, id: str, changes: EndpointChanges) -> Endpoint | None: ...

    @abstractmethod
    async def delete_endpoint(self, tenant: str, id: str) -> bool: ...

    @abstractmethod
    async def get_secret(self, tenant: str, id: str) -> str | None: ...

    @abstractmethod
    async def rotate_secret(
        self, tenant: str, id: str, key: str | None, *, overlap: int = SECRET_OVERLAP
    ) -> str | None:
        """Replace the secret of an endpoint with `key` or a random one.

        The previous one stays valid for `overlap` seconds. Stores shorten the validity of earlier ones too.
        """

    @abstractmethod
    async def endpoint_stats(self, tenant: str, id: str, since: datetime, until: datetime) -> EndpointStats | None: ...

    # Redelivery

    @abstractmethod
    async def resend(self, tenant: str, event_id: str, endpoint_id: str) -> bool:
        """Deliver an event to an endpoint again, ignoring its filters. Returns False if either does not exist."""

    @abstractmethod
    async def recover(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None, *, missing: bool
    ) -> int | None:
        """Deliver again what failed since a given time, and with `missing` also what was never attempted.

        Returns the number of queued deliveries (or of those that the backend accepted for queueing), or None if there
        is no such endpoint.
        """

    @abstractmethod
    async def test_endpoint(self, tenant: str, endpoint_id: str, event: Event) -> Event | None:
        """Store an event and deliver it to this endpoint only, ignoring its filters."""

    # The backend itself

    @abstractmethod
    async def sync(self, event_types: EventTypes) -> SyncResult:
        """Register the catalog with the backend. Idempotent."""

    async def portal(self, tenant: str, *, write: bool, expires_in: int) -> PortalAccess | None:
        """Return access to the backend's own portal, or None if it uses ours. `expires_in` is in seconds."""
        return None

    @abstractmethod
    async def erase(self, tenant: str) -> None:
        """Remove everything that is stored for a tenant: events, endpoints, attempts."""

    # Dead letters, if the backend can have any. See `DeadLetters`.

    async def dead_letters(self, *, tenant: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return events that were refused permanently, of this tenant or of all, oldest first."""
        return ()

    async def redrive(self, tenant: str | None = None, *, ids: Collection[str] | None = None) -> int:
        """Queue dead letters again: all, or only those of a tenant, or with these ids. Returns how many."""
        return 0

    async def discard(self, ids: Collection[str]) -> int:
        """Delete the dead letters with these ids. Returns how many."""
        return 0

    async def dead_letter_tenants(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return the tenants of the dead letters with these ids, as far as they exist."""
        return {}

    async def end_portal_access(self, tenant: str) -> None:
        """End the access that `portal` has granted, if the backend can. Does not concern sessions of our own portal."""
        return None

    async def reencrypt(self) -> int:
        """Encrypt the secrets that this host keeps with the first encryption key. Returns of how many endpoints."""
        return 0

    @property
    @abstractmethod
    def meta(self) -> Meta:
        """Return the small values that all processes of the host share."""

    @abstractmethod
    async def secret_keys(self) -> Sequence[bytes]:
        """Return the keys of tickets and portal sessions, the same in all processes. The first one signs."""

    async def log_name(self) -> str:
        """A name of the log that events end up in, the same in all processes that share it; empty where none do."""
        return ""

    @abstractmethod
    def health(self, *, figures: bool = True) -> Health:
        """Return the state of the backend. May be called at any time, from any thread.

        Args:
            figures: Whether to include figures over all tenants, which are read in the background. While they are asked
                for, they are at most two seconds old.
        """

    async def refresh_figures(self) -> None:
        """Read the figures for `health` now."""
        return None

    # For tests

    def set_clock(self, clock: Clock, monotonic: Clock) -> None:
        """Use these clocks. Called before `lifespan`. See `starlette_webhooks.testing.Clock`.

        Args:
            clock: Seconds since the epoch.
            monotonic: Seconds of a monotonic clock.

        Raises:
            TypeError: The backend has its own clock.
            RuntimeError: The backend is already running.
        """
        raise TypeError(
            f"The backend {self.name!r} has its own clock. Use `Webhooks(backend=MemoryBackend())` in tests."
        )

    def wake(self) -> None:
        """Check for due deliveries now. Thread-safe. For tests that advance the clock."""
        return None

    @property
    def busy(self) -> int:
        """The number of this process's attempts that are running or not recorded yet."""
        return 0

    @property
    def on_loop(self) -> bool:
        """Whether the caller is on the thread of the backend's event loop."""
        return False
