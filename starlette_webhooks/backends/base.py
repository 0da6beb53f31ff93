"""What every engine does: the contract behind the façade."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.endpoints import Endpoint, EndpointChanges, EndpointStats
from starlette_webhooks.event_types import EventTypes, SyncResult
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.feed import Listener, Replay, StreamFilter
from starlette_webhooks.pagination import Page
from starlette_webhooks.submissions import Submission

__all__ = ["Backend", "PortalAccess"]


@dataclass(frozen=True, slots=True)
class PortalAccess:
    """Where a customer manages endpoints, and until when the URL works."""

    url: str
    expires_at: datetime


class Backend(ABC):
    """An engine: takes events, keeps them, delivers them, tells of them.

    All calls but `submit` come from the event loop, within `lifespan`. Each call that takes a tenant sees and touches
    that tenant's objects only; an object of another tenant is answered as one that does not exist.
    """

    name: ClassVar[str]
    mints_ids: ClassVar[bool] = True
    """Whether events get their public id at emit. Where False, the engine gives it when it accepts the event."""

    signature_headers: ClassVar[str | None] = None
    """Names of the signature headers, `webhook`, `svix` or `both`, where the settings do not tell them."""

    @abstractmethod
    def lifespan(self, event_types: EventTypes) -> AbstractAsyncContextManager[None]:
        """Open the engine, run its tasks, drain and close it. Entered once."""

    # Emitting

    @abstractmethod
    def submit(self, events: Sequence[Event]) -> Submission:
        """Take events, all or none, in one commit. Thread-safe; never blocks.

        Raises:
            NotRunning: Outside `lifespan`.
            QueueFull: Too many events wait to be written.
        """

    async def send(self, events: Sequence[Event]) -> Sequence[Event]:
        """Hand over events and return once the engine has accepted them. Raises `BackendError` where it has not."""
        return await self.submit(events).wait()

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
        """The tenant's last stream is gone. Sync, since it runs while tasks are cancelled."""

    @abstractmethod
    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> Replay:
        """What a stream has missed.

        Args:
            after: The `Last-Event-ID` it resumes from; or the position of the last entry it was past, where it fell
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
        """Give the endpoint a new secret, `key` or a random one. The old one signs along for 24 hours."""

    @abstractmethod
    async def endpoint_stats(self, tenant: str, id: str, since: datetime, until: datetime) -> EndpointStats | None: ...

    # Delivering again

    @abstractmethod
    async def resend(self, tenant: str, event_id: str, endpoint_id: str) -> bool:
        """Deliver an event to an endpoint again, filters aside. False where one of them does not exist."""

    @abstractmethod
    async def recover(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None, *, missing: bool
    ) -> int | None:
        """Deliver again what failed since then, and with `missing` also what was never tried.

        Returns how many deliveries were queued (or were accepted by the engine for queueing), None where there is no
        such endpoint.
        """

    @abstractmethod
    async def test_endpoint(self, tenant: str, endpoint_id: str, event: Event) -> Event | None:
        """Store the event and deliver it to this endpoint alone, filters aside."""

    # The engine itself

    @abstractmethod
    async def sync(self, event_types: EventTypes) -> SyncResult:
        """Register the catalog with the engine. Idempotent."""

    async def portal(self, tenant: str, *, write: bool, expires_in: int) -> PortalAccess | None:
        """Access to the engine's own portal, or None where it has none and ours serves. `expires_in` in seconds."""
        return None

    @abstractmethod
    async def erase(self, tenant: str) -> None:
        """Remove all that is kept of a tenant: events, endpoints, attempts."""

    @abstractmethod
    async def secret_keys(self) -> Sequence[bytes]:
        """The keys of tickets and portal sessions, the same in all processes of the host. The first one signs."""

    @abstractmethod
    def health(self) -> dict[str, Any]:
        """The state of the engine, JSON-able: `{"engine", "status": "ok" | "degraded" | "stopped", ...}`."""
