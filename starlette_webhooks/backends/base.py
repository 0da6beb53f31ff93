"""What every backend does: the contract that routes, streams and emitters rely on."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.endpoints import Endpoint, EndpointChanges, EndpointStats
from starlette_webhooks.event_types import EventTypes, SyncResult
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.feed import Listener, Replay, StreamFilter
from starlette_webhooks.health import Health
from starlette_webhooks.meta import Meta
from starlette_webhooks.pagination import Page
from starlette_webhooks.submissions import Submission
from starlette_webhooks.types import Clock

__all__ = ["Backend", "PortalAccess"]


@dataclass(frozen=True, slots=True)
class PortalAccess:
    """Where a customer manages endpoints, and until when the URL works."""

    # It signs in whoever opens it.
    url: str = field(repr=False)
    expires_at: datetime


class Backend(ABC):
    """Takes events, keeps them, delivers them and publishes them.

    All calls but `submit` come from the event loop. Outside `lifespan` they raise `NotRunning`. Each call that takes a
    tenant sees and touches that tenant's objects only; an object of another tenant is answered as one that does not
    exist.
    """

    name: ClassVar[str]
    mints_ids: ClassVar[bool] = True
    """Whether events get their public id at emit. If False, the backend gives it when it accepts the event."""

    signature_headers: ClassVar[str | None] = None
    """Names of the signature headers, `webhook`, `svix` or `both`, if the settings do not decide."""

    @abstractmethod
    def lifespan(self, event_types: EventTypes) -> AbstractAsyncContextManager[None]:
        """Open the backend, run its tasks, drain and close it. Entered once."""

    # Emitting

    @abstractmethod
    def submit(self, events: Sequence[Event]) -> Submission:
        """Take events, all or none, in one commit. Thread-safe; never blocks.

        Raises:
            NotRunning: Outside `lifespan`.
            QueueFull: Too many events wait to be written.
        """

    async def send(self, events: Sequence[Event]) -> Sequence[Event]:
        """Take events and return once the backend has accepted them. Raises `BackendError` if it has not."""
        return await self.submit(events).wait()

    def event_time(self) -> int:
        """The time that new events get, in milliseconds since the epoch. Thread-safe."""
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
        """Publish to this listener from now on. Called once, before any `watch`."""

    @abstractmethod
    def watch(self, tenant: str) -> None:
        """The tenant has its first open stream."""

    @abstractmethod
    def unwatch(self, tenant: str) -> None:
        """The tenant's last stream is gone. Ignored outside `lifespan`. Sync, as it runs while tasks are cancelled."""

    @abstractmethod
    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> Replay:
        """What a stream has missed.

        Args:
            after: The `Last-Event-ID` it resumes from; or the position of the last entry it has sent, if it fell
                behind; or None to start with what is published from now on (an empty replay, which still `covers` all
                that was committed before).
        """

    # Endpoints

    @abstractmethod
    async def list_endpoints(self, tenant: str, *, limit: int, cursor: str | None) -> Page[Endpoint]:
        """Newest first."""

    @abstractmethod
    async def get_endpoint(self, tenant: str, id: str) -> Endpoint | None: ...

    @abstractmethod
    async def create_endpoint(self, tenant: str, changes: EndpointChanges) -> Endpoint:
        """Raises `InvalidBody` for a URL that may not be called, `Conflict` at the limit of endpoints."""

    @abstractmethod
    async def update_endpoint(self, tenant: str, id: str, changes: EndpointChanges) -> Endpoint | None: ...

    @abstractmethod
    async def delete_endpoint(self, tenant: str, id: str) -> bool: ...

    @abstractmethod
    async def get_secret(self, tenant: str, id: str) -> str | None: ...

    @abstractmethod
    async def rotate_secret(self, tenant: str, id: str, key: str | None) -> str | None:
        """Give the endpoint a new secret, `key` or a random one. The old one stays valid for 24 hours."""

    @abstractmethod
    async def endpoint_stats(self, tenant: str, id: str, since: datetime, until: datetime) -> EndpointStats | None: ...

    # Delivering again

    @abstractmethod
    async def resend(self, tenant: str, event_id: str, endpoint_id: str) -> bool:
        """Deliver an event to an endpoint again, ignoring its filters. False if one of them does not exist."""

    @abstractmethod
    async def recover(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None, *, missing: bool
    ) -> int | None:
        """Deliver again what failed since then, and with `missing` also what was never attempted.

        Returns how many deliveries were queued (or were accepted by the backend for queueing), None if there is no
        such endpoint.
        """

    @abstractmethod
    async def test_endpoint(self, tenant: str, endpoint_id: str, event: Event) -> Event | None:
        """Store the event and deliver it to this endpoint alone, ignoring its filters."""

    # The backend itself

    @abstractmethod
    async def sync(self, event_types: EventTypes) -> SyncResult:
        """Register the catalog with the backend. Idempotent."""

    async def portal(self, tenant: str, *, write: bool, expires_in: int) -> PortalAccess | None:
        """Access to the backend's own portal, or None if it has none and ours serves. `expires_in` in seconds."""
        return None

    @abstractmethod
    async def erase(self, tenant: str) -> None:
        """Remove all that is kept of a tenant: events, endpoints, attempts."""

    async def end_portal_access(self, tenant: str) -> None:
        """End what `portal` has given out so far, if the backend can. Our own sessions are not the backend's."""
        return None

    @property
    @abstractmethod
    def meta(self) -> Meta:
        """Small values that all processes of the host share."""

    @abstractmethod
    async def secret_keys(self) -> Sequence[bytes]:
        """The keys of tickets and portal sessions, the same in all processes of the host. The first one signs."""

    @abstractmethod
    def health(self) -> Health:
        """The state of the backend. Callable at any time, from any thread."""

    # For tests

    def set_clock(self, clock: Clock, monotonic: Clock) -> None:
        """Go by these clocks, set before `lifespan`. See `starlette_webhooks.testing.Clock`.

        Args:
            clock: Seconds since the epoch.
            monotonic: Seconds of a clock that only moves forward.

        Raises:
            TypeError: The backend keeps its own time.
            RuntimeError: It is already running.
        """
        raise TypeError(
            f"The backend {self.name!r} keeps its own time. Use `Webhooks(backend=MemoryBackend())` in tests."
        )

    def wake(self) -> None:
        """Look for deliveries that are due, now. Thread-safe; for tests that set the clock forward."""
        return None

    @property
    def busy(self) -> int:
        """Attempts of this process that are under way, or not recorded yet."""
        return 0

    @property
    def on_loop(self) -> bool:
        """Whether the caller is on the thread of the event loop that the backend runs on."""
        return False
