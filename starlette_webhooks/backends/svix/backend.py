"""`SvixBackend`: the outbox is local, everything else is at Svix."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import anyio

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.backends.base import Backend, PortalAccess
from starlette_webhooks.backends.reencryption import session_key
from starlette_webhooks.backends.svix.acceptance import Acceptances, AcceptedSubmission, ReportingOutbox
from starlette_webhooks.backends.svix.client import require_asyncio
from starlette_webhooks.backends.svix.counting import Counting
from starlette_webhooks.backends.svix.housekeeping import Housekeeping
from starlette_webhooks.backends.svix.parts import SvixParts
from starlette_webhooks.backends.svix.probe import Probe
from starlette_webhooks.backends.svix.replay import SvixReplay
from starlette_webhooks.backends.svix.sending import Sending
from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.dead_letters import DeadLetter
from starlette_webhooks.encryption import SecretBox
from starlette_webhooks.endpoints import SECRET_OVERLAP, Endpoint, EndpointChanges, EndpointStats
from starlette_webhooks.event_types import EventTypes, SyncResult
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import BackendRefused, NotRunning
from starlette_webhooks.feed import Listener, StreamFilter
from starlette_webhooks.health import Health, Status
from starlette_webhooks.identifiers import is_message_id
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.meta import Meta
from starlette_webhooks.operations import Overview
from starlette_webhooks.pagination import Page
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.relay.outbox import Outbox
from starlette_webhooks.relay.relay import Relay
from starlette_webhooks.stores.outboxes import outbox_of
from starlette_webhooks.submissions import Submission

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.types import Clock

__all__ = ["SvixBackend"]

logger = logging.getLogger("starlette_webhooks")

_DRAIN_WITHIN = 5.0
_LATE = 60.0


class SvixBackend(Backend):
    """Stores events in an outbox, in the database of the settings, until Svix has accepted them. Svix does the rest.

    Args:
        settings: `database`, `retention_days`, and those that start with `svix_`.
        clock: Seconds since the epoch. Tests advance it.
        sleep: Waits for a number of seconds.
        monotonic: Seconds of a monotonic clock.
        overlap: The maximum of seconds between the time when a message gets its id and the time when Svix lists it,
            including clock differences and lagging read replicas. A stream would miss a message that takes longer.
        poll: Seconds between two checks for events of other processes, for a tenant with open streams: after activity,
            and at most when nothing happens.
        relay_poll: Seconds between two checks for events that other processes accepted.
        archive_event_types: Whether `sync` archives event types that were removed from the catalog.
    """

    name = "svix"
    mints_ids = False
    # The default of a self-hosted server. The cloud has its own portal.
    signature_headers = "svix"
    without_operations = (
        "Svix stores the deliveries. Use its dashboard, or the endpoints and attempts of one tenant. For events that "
        "Svix refused, use `dead_letters()` and `redrive()`."
    )

    def __init__(
        self,
        settings: WebhooksSettings,
        *,
        clock: Clock = time.time,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        monotonic: Clock = time.monotonic,
        overlap: float = 15.0,
        poll: tuple[float, float] = (0.5, 5.0),
        relay_poll: float = 0.25,
        archive_event_types: bool = False,
    ) -> None:
        self.settings = settings
        self._box = SecretBox(settings.encryption_keys)
        self._time = TimeSource(clock, sleep, monotonic)
        self._outbox = outbox_of(settings, clock)
        self._parts = SvixParts(
            settings,
            self._outbox,
            self._time,
            ready=self._sync_once,
            poll=poll,
            overlap=overlap,
            archive_event_types=archive_event_types,
        )
        self._acceptances: Acceptances | None = None
        outbox: Outbox = self._outbox
        if settings.deliver and settings.svix_memory_wait and not self._outbox.shared:
            self._acceptances = Acceptances()
            outbox = ReportingOutbox(outbox, self._acceptances)
        self._relay = Relay(
            outbox,
            self._parts.forwarding,
            self._outbox.lock(self._time),
            self._time,
            target="Svix",
            concurrency=settings.svix_concurrency,
            tenant_concurrency=settings.svix_tenant_concurrency,
            poll=relay_poll if self._outbox.shared else math.inf,
        )
        self._sending = Sending(self._outbox, self._relay, self._parts.forwarding, timeout=settings.svix_timeout)
        self._housekeeping = Housekeeping(self._outbox, self._relay, self._parts.delivering, self._time)
        self._probe = Probe(self._parts.client, self._time)
        self._counting = Counting(self._outbox)
        self._running = False
        self._event_types: EventTypes | None = None
        self._synced = False
        self._sync_lock = anyio.Lock()

    @asynccontextmanager
    async def lifespan(self, event_types: EventTypes) -> AsyncIterator[None]:
        """Open the outbox and relay from it until the block ends. Works even if Svix is down or the key is wrong.

        Raises:
            RuntimeError: The event loop is not asyncio's.
            BackendUnavailable: The outbox cannot be opened.
        """
        require_asyncio()
        self._event_types = event_types
        self._counting.start()
        if not self._outbox.shared and self._acceptances is None:
            logger.warning(
                "`WEBHOOKS_DATABASE` is `:memory:`, and responses do not wait for Svix: events that Svix has not "
                "accepted yet are lost when this process ends.",
                extra=log_fields("outbox.not_durable"),
            )
        async with self._outbox.lifespan(self._committed):
            functions = [self._probe.run, self._counting.run]
            if self.settings.deliver:
                functions += [self._relay.run, self._housekeeping.run]
            async with self._parts.client.lifespan(), running_beside(*functions) as tasks:
                self._parts.streaming.start(tasks)
                self._running = True
                try:
                    yield
                    if self.settings.deliver and not self._outbox.shared:
                        await self._sending.drain(_DRAIN_WITHIN)
                finally:
                    self._running = False
                    self._parts.streaming.start(None)

    @property
    def _svix(self) -> SvixParts:
        if not self._running:
            raise NotRunning
        return self._parts

    def _committed(self, fresh: bool) -> None:
        if fresh:
            self._relay.wake()
        self._counting.note_change()

    # Emitting

    def submit(self, events: Sequence[Event]) -> Submission:
        """See `Backend.submit`. The events have no `id` yet, except for those that Svix already has.

        If the outbox is in memory, they are durable once Svix has them.
        """
        if self._acceptances is None:
            return self._outbox.submit(events)
        outcomes = [self._acceptances.outcome(event) for event in events]
        return AcceptedSubmission(self._outbox.submit(events), outcomes, self.settings.svix_memory_wait)

    async def send(self, events: Sequence[Event]) -> Sequence[Event]:
        """Forward events to Svix, after earlier events of their tenants.

        Several events are forwarded one by one. If one fails, Svix has the ones before it. If you send them again with
        the same `event_id`s, there are no duplicates.
        """
        if not self._running:
            raise NotRunning
        return await self._sending.send(events)

    async def settle(self) -> None:
        """Wait until Svix has accepted or permanently refused all submitted events. For tests and scripts."""
        await self._sending.settle()

    # For the operator

    async def overview(self) -> Overview:
        """See `Operations.overview`. Only the figures of the outbox: Svix stores the rest."""
        if not self._running:
            raise NotRunning
        counts = await self._outbox.counts()
        return Overview(
            now=int(self._time.now() * 1000),
            outbox_waiting=counts.waiting,
            outbox_oldest=None if counts.oldest is None else int(counts.oldest * 1000),
            dead_lettered=counts.dead_lettered,
        )

    async def dead_letters(self, *, tenant: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        return await self._outbox.dead_letters(tenant=tenant, limit=limit)

    async def redrive(self, tenant: str | None = None, *, ids: Collection[str] | None = None) -> int:
        count = await self._outbox.redrive(tenant, ids=ids)
        self._relay.wake(rescan=True)
        return count

    async def discard(self, ids: Collection[str]) -> int:
        return await self._outbox.discard(ids)

    async def dead_letter_tenants(self, ids: Collection[str]) -> Mapping[str, str]:
        return await self._outbox.dead_letter_tenants(ids)

    async def resolve_in_doubt(self) -> None:
        """Deliver events that Svix stored but did not queue. Called automatically every half minute."""
        await self._housekeeping.resolve_in_doubt()

    async def prune(self) -> None:
        """Remove events that Svix accepted long enough ago. Called automatically every hour."""
        await self._housekeeping.prune()

    # Reading

    async def list_events(self, tenant: str, query: EventQuery) -> Page[Event]:
        return await self._svix.messages.find(tenant, query)

    async def get_event(self, tenant: str, id: str) -> Event | None:
        messages = self._svix.messages
        return await messages.get(tenant, id) if is_message_id(id) else None

    async def list_attempts(self, tenant: str, query: AttemptQuery) -> Page[Attempt]:
        return await self._svix.attempts.find(tenant, query)

    # Streaming

    def listen(self, listener: Listener) -> None:
        self._parts.streaming.listen(listener)

    def watch(self, tenant: str) -> None:
        self._svix.streaming.watch(tenant)

    def unwatch(self, tenant: str) -> None:
        self._parts.streaming.unwatch(tenant)

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> SvixReplay:
        """See `Backend.replay`. The replay may include events of the `overlap` seconds before `after`."""
        return await self._svix.streaming.replay(tenant, filter, after)

    async def position(self, tenant: str) -> str:
        """See `Backend.position`. Without events, it is a time."""
        return await self._svix.streaming.position(tenant)

    # Endpoints

    async def list_endpoints(self, tenant: str, *, limit: int, cursor: str | None) -> Page[Endpoint]:
        return await self._svix.endpoints.find(tenant, limit, cursor)

    async def get_endpoint(self, tenant: str, id: str) -> Endpoint | None:
        return await self._svix.endpoints.get(tenant, id)

    async def create_endpoint(self, tenant: str, changes: EndpointChanges) -> Endpoint:
        return await self._svix.endpoints.create(tenant, changes)

    async def update_endpoint(self, tenant: str, id: str, changes: EndpointChanges) -> Endpoint | None:
        return await self._svix.endpoints.update(tenant, id, changes)

    async def delete_endpoint(self, tenant: str, id: str) -> bool:
        return await self._svix.endpoints.delete(tenant, id)

    async def get_secret(self, tenant: str, id: str) -> str | None:
        return await self._svix.endpoints.secret(tenant, id)

    async def rotate_secret(
        self, tenant: str, id: str, key: str | None, *, overlap: int = SECRET_OVERLAP
    ) -> str | None:
        return await self._svix.endpoints.rotate(tenant, id, key, overlap=overlap)

    async def endpoint_stats(self, tenant: str, id: str, since: datetime, until: datetime) -> EndpointStats | None:
        return await self._svix.endpoints.stats(tenant, id, since, until)

    # Redelivery

    async def resend(self, tenant: str, event_id: str, endpoint_id: str) -> bool:
        return await self._svix.delivering.resend(tenant, event_id, endpoint_id)

    async def recover(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None, *, missing: bool
    ) -> int | None:
        return await self._svix.delivering.recover(tenant, endpoint_id, since, until, missing=missing)

    async def test_endpoint(self, tenant: str, endpoint_id: str, event: Event) -> Event | None:
        delivering = self._svix.delivering
        await self._sync_once()
        return await delivering.test(tenant, endpoint_id, event)

    # The backend itself

    async def sync(self, event_types: EventTypes) -> SyncResult:
        async with self._sync_lock:
            result = await self._svix.catalog.sync(event_types)
            self._synced = True
            return result

    async def register_missing(self, event_types: EventTypes) -> SyncResult:
        """Register event types that are missing at Svix, without changing others."""
        return await self._svix.catalog.sync(event_types, only_missing=True)

    async def _sync_once(self) -> None:
        if not self._synced and self._event_types is not None:
            try:
                await self.sync(self._event_types)
            except BackendRefused as exc:
                # The others are registered. A call that needs this one gets Svix's error.
                logger.error("Svix refused an event type: %s", exc, extra=log_fields("event_type.refused"))
                self._synced = True

    async def portal(self, tenant: str, *, write: bool, expires_in: int) -> PortalAccess | None:
        """See `Backend.portal`. None on self-hosted servers, which have no portal."""
        portal = self._svix.portal
        await self._sync_once()
        return await portal.access(tenant, write=write, expires_in=expires_in)

    async def erase(self, tenant: str) -> None:
        """Delete the tenant's application at Svix with everything in it, and the tenant's events in the outbox."""
        applications = self._svix.applications
        await self._outbox.erase(tenant)
        await applications.delete(tenant)

    async def end_portal_access(self, tenant: str) -> None:
        """See `Backend.end_portal_access`."""
        await self._svix.portal.end_access(tenant)

    @property
    def meta(self) -> Meta:
        """See `Backend.meta`. Stored with the outbox."""
        return self._outbox

    async def secret_keys(self) -> Sequence[bytes]:
        """See `Backend.secret_keys`. If the settings have none, one is generated once and stored in the database."""
        return self.settings.secret_keys or (await session_key(self._outbox, self._box),)

    async def log_name(self) -> str:
        """See `Backend.log_name`. Events of all machines end up at the same Svix."""
        return f"svix {self.settings.svix_server_url or ''}"[:64]

    def health(self, *, figures: bool = True) -> Health:
        """Return the state of Svix, of the outbox (at most a second old) and of the relay."""
        client, counts = self._parts.client, self._counting.counts
        late = 0.0 if counts.oldest is None else max(0.0, self._time.now() - counts.oldest)
        errors = [self._probe.problem, *(str(error) for error in (client.error, self._relay.error) if error)]
        problem = next((error for error in errors if error), None)
        status: Status = "degraded" if problem or self._outbox.problem or late > _LATE else "ok"
        return {
            "backend": self.name,
            "status": status if self._running else "stopped",
            "svix": {
                "server": client.server,
                "selfHosted": client.self_hosted,
                "answered": self._probe.answered,
                "problem": problem,
            },
            "outbox": {
                "waiting": counts.waiting,
                "oldestSeconds": round(late, 3),
                "deadLettered": counts.dead_lettered,
                "problem": self._outbox.problem,
            },
            "relay": {"here": self._relay.relaying, "stalled": self._relay.stalled},
            "tails": self._parts.streaming.tails,
        }
