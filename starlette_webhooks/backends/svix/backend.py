"""`SvixBackend`: Svix behind the façade."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.backends.base import Backend, PortalAccess, Submission
from starlette_webhooks.backends.svix.applications import Applications, application_uid
from starlette_webhooks.backends.svix.attempts import Attempts
from starlette_webhooks.backends.svix.catalog import Catalog
from starlette_webhooks.backends.svix.client import SvixClient
from starlette_webhooks.backends.svix.delivering import Delivering
from starlette_webhooks.backends.svix.endpoints import Endpoints
from starlette_webhooks.backends.svix.errors import Missing
from starlette_webhooks.backends.svix.forwarding import Handover
from starlette_webhooks.backends.svix.housekeeping import Housekeeping
from starlette_webhooks.backends.svix.messages import Messages
from starlette_webhooks.backends.svix.portal import Portal
from starlette_webhooks.backends.svix.probe import Probe
from starlette_webhooks.backends.svix.replay import SvixReplay
from starlette_webhooks.backends.svix.streaming import Streaming
from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.endpoints import Endpoint, EndpointChanges, EndpointStats
from starlette_webhooks.event_types import EventTypes, SyncResult
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import BackendRefused, BackendUnavailable
from starlette_webhooks.feed import Listener, StreamFilter
from starlette_webhooks.identifiers import is_message_id
from starlette_webhooks.pagination import Page
from starlette_webhooks.relay.backoff import Pace
from starlette_webhooks.relay.lock import RelayLock
from starlette_webhooks.relay.relay import Relay
from starlette_webhooks.stores.sqlite.database import MEMORY, Database, Write
from starlette_webhooks.stores.sqlite.log import read_meta
from starlette_webhooks.stores.sqlite.outbox import Counts, Outbox, Parked, Taken

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.types import Clock

__all__ = ["SvixBackend"]

logger = logging.getLogger("starlette_webhooks")

_DRAIN_MEMORY = 5.0
_SETTLE_POLL = 0.02
_COUNT_PAUSE = 0.2
_COUNT_EVERY = 5.0
_LATE = 60.0


class SvixBackend(Backend):
    """Keeps events in an outbox in SQLite until Svix has them, and leaves the rest to Svix.

    Args:
        settings: `svix_api_key`, `svix_server_url`, `svix_timeout`, `svix_concurrency`, `database`, `retention_days`.
        clock: Seconds since the epoch; tests set it forward.
        sleep: Waits for so many seconds of that clock.
        overlap: Seconds that a message may take at Svix from getting its id to being listed, clocks apart and lagging
            read replicas included. A stream would miss one that takes longer.
        poll: Seconds between two looks for events of other processes, for a tenant with open streams: after activity,
            and at most when nothing happens.
        relay_poll: Seconds between two looks for events that other processes on the file took.
        archive_event_types: Whether `sync` archives event types that an earlier catalog had.
    """

    name = "svix"
    mints_ids = False
    # What a self-hosted server sends by default. The cloud has a portal of its own.
    signature_headers = "svix"

    def __init__(
        self,
        settings: WebhooksSettings,
        *,
        clock: Clock = time.time,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        overlap: float = 15.0,
        poll: tuple[float, float] = (0.5, 5.0),
        relay_poll: float = 0.25,
        archive_event_types: bool = False,
    ) -> None:
        self.settings = settings
        self.pace = Pace(clock, sleep)
        self.database = Database(
            settings.database_url.path, max_writes=settings.queue_events, max_bytes=settings.queue_bytes
        )
        self.outbox = Outbox(self.database, clock, settings.retention_days * 86_400)
        self.client = SvixClient(settings, self.pace)
        self._applications = Applications(self.client)
        self._messages = Messages(self.client)
        self._streaming = Streaming(self._messages, self.pace, poll=poll, overlap=overlap)
        self._endpoints = Endpoints(
            self.client, self._applications, most=settings.endpoints_per_tenant, ready=self._sync_once
        )
        self._attempts = Attempts(self.client, self._messages)
        self._delivering = Delivering(self.client, self._endpoints, self._messages)
        self._catalog = Catalog(self.client, self.database, archive=archive_event_types)
        self._portal = Portal(self.client, self._applications)
        self._handover = Handover(self.client, self._applications, self._messages, self._streaming.handed_over)
        self._in_memory = settings.database_url.path == MEMORY
        self.relay = Relay(
            self.outbox,
            self._handover,
            RelayLock(settings.database_url.path, self.pace),
            self.pace,
            concurrency=settings.svix_concurrency,
            poll=math.inf if self._in_memory else relay_poll,
        )
        self.housekeeping = Housekeeping(self.outbox, self.relay, self._delivering, self.pace)
        self._probe = Probe(self.client, self.pace)
        self._running = False
        self._event_types: EventTypes | None = None
        self._synced = False
        self._counts = Counts()

    @asynccontextmanager
    async def lifespan(self, event_types: EventTypes) -> AsyncIterator[None]:
        """Open the outbox and relay from it until the block ends. Svix may be down, and the key wrong.

        Raises:
            RuntimeError: This is no asyncio program.
            BackendUnavailable: The outbox cannot be opened.
        """
        _require_asyncio()
        self._event_types = event_types
        self._sync_lock = anyio.Lock()
        self._recount = anyio.Event()
        if self._in_memory:
            logger.warning(
                "`WEBHOOKS_DATABASE` is `:memory:`: events that Svix has not taken yet are lost when this process ends."
            )
        self.database.on_commit.append(self._committed)
        try:
            async with self.database.lifespan():
                await self.outbox.create()
                functions = [self._probe.run, self._count]
                if self.settings.deliver:
                    functions += [self.relay.run, self.housekeeping.run]
                async with self.client.lifespan(), running_beside(*functions) as tasks:
                    self._streaming.start(tasks)
                    self._running = True
                    try:
                        yield
                        if self._in_memory and self.settings.deliver:
                            await self._drain_memory()
                    finally:
                        self._running = False
                        self._streaming.start(None)
        finally:
            self.database.on_commit.remove(self._committed)

    def _committed(self, writes: Sequence[Write[Any]]) -> None:
        if any(isinstance(write.result, Taken) and write.result.fresh for write in writes):
            self.relay.kick()
        self._recount.set()

    async def _drain_memory(self) -> None:
        await self.outbox.committed()
        with anyio.move_on_after(_DRAIN_MEMORY):
            await self._until_empty()
            return
        counts = await self.outbox.counts()
        logger.error("%d events are lost, since Svix had not taken them when the process ended.", counts.waiting)

    async def _count(self) -> None:
        while True:
            try:
                self._counts = await self.outbox.counts()
            except BackendUnavailable as exc:
                logger.warning("The outbox could not be counted: %s", exc)
            await anyio.sleep(_COUNT_PAUSE)
            with anyio.move_on_after(_COUNT_EVERY):
                await self._recount.wait()
            self._recount = anyio.Event()

    # Emitting

    def submit(self, events: Sequence[Event]) -> Submission:
        """See `Backend.submit`. The events have no `id` yet, but for those that Svix has already."""
        return self.outbox.submit(events)

    async def send(self, events: Sequence[Event]) -> Sequence[Event]:
        """Hand events over to Svix, after those that their tenants emitted before.

        Several events are handed over one by one: where one fails, those before it are at Svix. Sent again with the
        same `event_id`s, none is there twice.
        """
        return [await self._send(event) for event in events]

    async def _send(self, event: Event) -> Event:
        await self._settle(event.tenant)
        row = await self.outbox.find(event.tenant, event.event_id)
        if row is not None and row.parked:
            raise BackendRefused(
                f"Svix has refused the event {event.event_id!r} before.", code=row.code, detail=row.detail
            )
        if row is not None and row.accepted and row.event.id:
            return row.event
        accepted = await self._handover(event, patient=True)
        if row is None:
            try:
                await self.outbox.record(accepted.event, check_at=accepted.check_at)
            except BackendUnavailable as exc:
                logger.warning("Svix has the event %s, which cannot be remembered here: %s", event.event_id, exc)
        return accepted.event

    async def _settle(self, tenant: str) -> None:
        with anyio.move_on_after(self.settings.svix_timeout):
            while await self.outbox.waits(tenant):
                if self.relay.fails(tenant):
                    break
                await anyio.sleep(_SETTLE_POLL)
            else:
                return
        reason = f" {self.relay.error}" if self.relay.error is not None else ""
        raise BackendUnavailable(f"Events that were emitted before this one still wait for Svix.{reason}")

    async def settle(self) -> None:
        """Wait until Svix has all that was submitted so far, or has refused it for good. For tests and scripts."""
        await self.outbox.committed()
        await self._until_empty()

    async def _until_empty(self) -> None:
        # Another process may be the one that relays, so there is nothing here to be woken by.
        while await self.outbox.waits():
            await anyio.sleep(_SETTLE_POLL)

    async def parked(self, *, limit: int = 100) -> Sequence[Parked]:
        """Events that Svix refused for good, oldest first."""
        return await self.outbox.parked(limit)

    async def release_parked(self, tenant: str | None = None) -> int:
        """Hand parked events over again, of one tenant or of all, once their cause is mended. Returns how many."""
        released = await self.outbox.release(tenant)
        self.relay.kick(rescan=True)
        return released

    # Reading

    async def list_events(self, tenant: str, query: EventQuery) -> Page[Event]:
        return await self._messages.find(tenant, query)

    async def get_event(self, tenant: str, id: str) -> Event | None:
        return await self._messages.get(tenant, id) if is_message_id(id) else None

    async def list_attempts(self, tenant: str, query: AttemptQuery) -> Page[Attempt]:
        return await self._attempts.find(tenant, query)

    # Streaming

    def listen(self, listener: Listener) -> None:
        self._streaming.listen(listener)

    def watch(self, tenant: str) -> None:
        self._streaming.watch(tenant)

    def unwatch(self, tenant: str) -> None:
        self._streaming.unwatch(tenant)

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> SvixReplay:
        """See `Backend.replay`. What it brings may include events of `overlap` seconds before `after`."""
        return await self._streaming.replay(tenant, filter, after)

    # Endpoints

    async def list_endpoints(self, tenant: str, *, limit: int, cursor: str | None) -> Page[Endpoint]:
        return await self._endpoints.find(tenant, limit, cursor)

    async def get_endpoint(self, tenant: str, id: str) -> Endpoint | None:
        return await self._endpoints.get(tenant, id)

    async def create_endpoint(self, tenant: str, changes: EndpointChanges) -> Endpoint:
        return await self._endpoints.create(tenant, changes)

    async def update_endpoint(self, tenant: str, id: str, changes: EndpointChanges) -> Endpoint | None:
        return await self._endpoints.update(tenant, id, changes)

    async def delete_endpoint(self, tenant: str, id: str) -> bool:
        return await self._endpoints.delete(tenant, id)

    async def get_secret(self, tenant: str, id: str) -> str | None:
        return await self._endpoints.secret(tenant, id)

    async def rotate_secret(self, tenant: str, id: str, key: str | None) -> str | None:
        return await self._endpoints.rotate(tenant, id, key)

    async def endpoint_stats(self, tenant: str, id: str, since: datetime, until: datetime) -> EndpointStats | None:
        return await self._endpoints.stats(tenant, id, since, until)

    # Delivering again

    async def resend(self, tenant: str, event_id: str, endpoint_id: str) -> bool:
        return await self._delivering.resend(tenant, event_id, endpoint_id)

    async def recover(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None, *, missing: bool
    ) -> int | None:
        return await self._delivering.recover(tenant, endpoint_id, since, until, missing=missing)

    async def test_endpoint(self, tenant: str, endpoint_id: str, event: Event) -> Event | None:
        await self._sync_once()
        return await self._delivering.test(tenant, endpoint_id, event)

    # The engine itself

    async def sync(self, event_types: EventTypes) -> SyncResult:
        async with self._sync_lock:
            result = await self._catalog.sync(event_types)
            self._synced = True
            return result

    async def register_missing(self, event_types: EventTypes) -> SyncResult:
        """Register those event types that Svix does not know, and change none that it does."""
        return await self._catalog.sync(event_types, only_missing=True)

    async def _sync_once(self) -> None:
        if not self._synced and self._event_types is not None:
            try:
                await self.sync(self._event_types)
            except BackendRefused as exc:
                # The rest is registered; whoever needs the one that is not is told by Svix.
                logger.error("Svix refused an event type: %s", exc)
                self._synced = True

    async def portal(self, tenant: str, *, write: bool, expires_in: int) -> PortalAccess | None:
        """See `Backend.portal`. None on self-hosted servers, which have no portal."""
        await self._sync_once()
        return await self._portal.access(tenant, write=write, expires_in=expires_in)

    async def erase(self, tenant: str) -> None:
        """Remove the tenant's application at Svix with all in it, and what waits for it here."""
        await self.outbox.erase(tenant)
        with suppress(Missing):
            await self.client.done(self.client.sdk.application.delete, application_uid(tenant))
        self._applications.forget(tenant)

    async def secret_keys(self) -> Sequence[bytes]:
        """See `Backend.secret_keys`. Where the settings give none, one is made once and kept in the database."""
        if self.settings.secret_keys:
            return self.settings.secret_keys
        key = await self.database.write(partial(read_meta, name="secret_key", default=os.urandom(32)))
        return (key,)

    def health(self) -> dict[str, Any]:
        """The state of Svix, of the outbox (a second old at most) and of the relay."""
        counts = self._counts
        late = 0.0 if counts.oldest is None else max(0.0, self.pace.clock() - counts.oldest)
        errors = [self._probe.problem, *(str(error) for error in (self.client.error, self.relay.error) if error)]
        problem = next((error for error in errors if error), None)
        status = "degraded" if problem or late > _LATE else "ok"
        return {
            "engine": self.name,
            "status": status if self._running else "stopped",
            "svix": {
                "server": self.client.server,
                "selfHosted": self.client.self_hosted,
                "version": self._probe.version,
                "answered": self._probe.answered,
                "problem": problem,
            },
            "outbox": {"waiting": counts.waiting, "oldestSeconds": round(late, 3), "parked": counts.parked},
            "relay": {"here": self.relay.relaying, "down": self.relay.stuck},
            "tails": self._streaming.tails,
        }


def _require_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "The Svix engine needs asyncio, since the `svix` SDK does. Run the app on asyncio, or unset "
            "`SVIX_API_KEY` to use the embedded engine."
        ) from None
