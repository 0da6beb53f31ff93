"""`StoredBackend`, the implementation of `Backend` for all stores."""

from __future__ import annotations

import os
import random as random_module
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import anyio

from starlette_webhooks.backends.base import Backend
from starlette_webhooks.backends.figures import add_figures, dispatchers_health
from starlette_webhooks.backends.heartbeat import Heartbeat
from starlette_webhooks.backends.pruner import Pruner
from starlette_webhooks.backends.reencryption import check_keys, reencrypt, session_key
from starlette_webhooks.backends.statistics import Statistics
from starlette_webhooks.backends.stored_operations import StoredOperations
from starlette_webhooks.concurrency import Turns, running_beside
from starlette_webhooks.conflicts import endpoint_disabled, recovery_running, same_secret
from starlette_webhooks.delivery.addresses import AddressGuard, ForbiddenAddress, InvalidURL
from starlette_webhooks.delivery.client import DeliveryClient
from starlette_webhooks.delivery.dispatcher import Dispatcher
from starlette_webhooks.delivery.lookups import Lookups
from starlette_webhooks.delivery.networks import Networks
from starlette_webhooks.encryption import SecretBox
from starlette_webhooks.endpoints import SECRET_OVERLAP, Endpoint, EndpointChanges, EndpointStats, Unset
from starlette_webhooks.event_types import EventTypes, SyncResult
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import InvalidBody, NotRunning
from starlette_webhooks.feed import Listener, Replay, StreamFilter
from starlette_webhooks.health import Health, HostOutboxHealth, Status
from starlette_webhooks.identifiers import is_endpoint_id, is_message_id
from starlette_webhooks.meta import Meta
from starlette_webhooks.operations import Overview
from starlette_webhooks.pagination import Page, check_cursor
from starlette_webhooks.signing import generate_secret
from starlette_webhooks.stores.base import RecoverCursor, RecoverWindow, Store
from starlette_webhooks.submissions import Submission

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.types import Clock

__all__ = ["StoredBackend"]

_RECOVERY_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class _Running:
    """State that only exists within `lifespan`."""

    guard: AddressGuard
    dispatcher: Dispatcher | None
    statistics: Statistics[Overview]


class StoredBackend(StoredOperations, Backend):
    """Stores events in a store, and delivers them.

    Args:
        store: Where everything is stored.
        settings: `deliver`, `retention_days`, the retry schedule and the rest.
        random: A number from 0 to 1, for the jitter of retries.
        scan_every, pause: See `Dispatcher`.
        lookups: How the names of endpoints are looked up.
    """

    def __init__(
        self,
        store: Store,
        settings: WebhooksSettings,
        *,
        random: Callable[[], float] = random_module.random,
        scan_every: float = 1.0,
        pause: float = 1.0,
        lookups: Lookups | None = None,
    ) -> None:
        self.store = store
        store.operator = settings.operator_tenant
        self._lookups = lookups
        self.settings = settings
        self._box = SecretBox(settings.encryption_keys)
        self._random = random
        self._scan_every = scan_every
        self._pause = pause
        self._monotonic: Clock = time.monotonic
        self._running: _Running | None = None
        self._recovering: set[str] = set()
        # A change can write a thousand rows. Several of a tenant would be committed together, and everyone's next event
        # would wait for all of them.
        self._turns = Turns()
        self._first_due_in = int(settings.retry_schedule[0] * 1000)

    @asynccontextmanager
    async def lifespan(self, event_types: EventTypes) -> AsyncIterator[None]:
        """Open the store, deliver and prune until the block ends. Then commit what waits."""
        # A forked child would inherit what tasks of its parent hold.
        self._turns, self._recovering = Turns(), set()
        self._start_scans()
        settings = self.settings
        networks = Networks(settings.allow_networks, settings.deny_networks, settings.nat64_networks)
        guard = AddressGuard(networks, ports=settings.ports, allow_http=settings.allow_http, lookups=self._lookups)
        client = DeliveryClient(
            guard, timeout=settings.attempt_timeout, ca_file=settings.ca_file, proxy=settings.proxy_url
        )
        async with self.store.lifespan(), client:
            await check_keys(self.store, self._box)
            dispatcher = self._dispatcher(client) if settings.deliver else None
            pruner = Pruner(self.store, settings.retention_days, monotonic=self._monotonic)
            statistics = Statistics(self.store.overview, call_soon=self.store.call_soon, monotonic=self._monotonic)
            tasks = [pruner.run, statistics.run]
            if dispatcher is not None:
                self.store.on_deliveries(dispatcher)
                tasks += [dispatcher.run, Heartbeat(self.store).run]
            async with running_beside(*tasks):
                self._running = _Running(guard, dispatcher, statistics)
                try:
                    yield
                finally:
                    self._running = None
                    self.store.on_deliveries(None)

    def _dispatcher(self, client: DeliveryClient) -> Dispatcher:
        return Dispatcher(
            self.store,
            client,
            self.settings,
            random=self._random,
            monotonic=self._monotonic,
            scan_every=self._scan_every,
            pause=self._pause,
            box=self._box,
            telemetry=self.telemetry,
        )

    @property
    def _open_store(self) -> Store:
        if self._running is None:
            raise NotRunning
        return self.store

    # Time

    def set_clock(self, clock: Clock, monotonic: Clock) -> None:
        """See `Backend.set_clock`."""
        if self._running is not None:
            raise RuntimeError("The backend is already running. Call `set_clock` before the app starts.")
        self.store.clock = clock
        self._monotonic = monotonic

    def wake(self) -> None:
        """See `Backend.wake`."""
        running = self._running
        if running is not None and running.dispatcher is not None:
            self.store.call_soon(running.dispatcher.wake)

    @property
    def busy(self) -> int:
        """See `Backend.busy`."""
        running = self._running
        return 0 if running is None or running.dispatcher is None else running.dispatcher.busy

    @property
    def on_loop(self) -> bool:
        """See `Backend.on_loop`."""
        return self.store.on_loop

    async def prune(self) -> None:
        """Remove events older than `retention_days`, in small batches. Called automatically every hour."""
        await Pruner(self._open_store, self.settings.retention_days).prune()

    # Emitting

    def submit(self, events: Sequence[Event]) -> Submission:
        """See `Backend.submit`."""
        return self.store.submit(events, due_in=self._first_due_in)

    # Reading

    async def list_events(self, tenant: str, query: EventQuery) -> Page[Event]:
        store = self._open_store
        check_cursor(query.cursor, is_message_id)
        return await store.list_events(tenant, query)

    async def get_event(self, tenant: str, id: str) -> Event | None:
        return await self._open_store.get_event(tenant, id)

    # Streaming

    def listen(self, listener: Listener) -> None:
        self.store.listen(listener)

    def watch(self, tenant: str) -> None:
        self._open_store.watch(tenant)

    def unwatch(self, tenant: str) -> None:
        # A stream may end after the backend.
        if self._running is not None:
            self.store.unwatch(tenant)

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> Replay:
        return await self._open_store.replay(tenant, filter, after)

    async def position(self, tenant: str) -> str:
        return await self._open_store.position(tenant)

    # Endpoints

    async def list_endpoints(self, tenant: str, *, limit: int, cursor: str | None) -> Page[Endpoint]:
        store = self._open_store
        check_cursor(cursor, is_endpoint_id)
        page = await store.list_endpoints(tenant, limit=limit, cursor=cursor)
        return Page([self._opened(endpoint) for endpoint in page.items], page.next_cursor, page.done)

    async def get_endpoint(self, tenant: str, id: str) -> Endpoint | None:
        endpoint = await self._open_store.get_endpoint(tenant, id)
        return None if endpoint is None else self._opened(endpoint)

    def _opened(self, endpoint: Endpoint) -> Endpoint:
        headers = self._box.open_headers(endpoint.headers, endpoint.tenant)
        return endpoint if headers is endpoint.headers else replace(endpoint, headers=headers)

    def _sealed(self, changes: EndpointChanges, tenant: str) -> EndpointChanges:
        if isinstance(changes.headers, Unset):
            return changes
        return replace(changes, headers=self._box.seal_headers(changes.headers, tenant))

    async def create_endpoint(self, tenant: str, changes: EndpointChanges) -> Endpoint:
        store = self._open_store
        self._check_url(changes)
        secret = changes.secret if isinstance(changes.secret, str) else generate_secret()
        sealed = replace(self._sealed(changes, tenant), secret=self._box.seal_secret(secret, tenant))
        async with self._turns.of(tenant):
            made = await store.create_endpoint(tenant, sealed, limit=self.settings.endpoints_per_tenant)
        return self._opened(made)

    async def update_endpoint(self, tenant: str, id: str, changes: EndpointChanges) -> Endpoint | None:
        store = self._open_store
        self._check_url(changes)
        async with self._turns.of(tenant):
            endpoint = await store.update_endpoint(tenant, id, self._sealed(changes, tenant))
        await self._resume(tenant, id)
        return None if endpoint is None else self._opened(endpoint)

    def _check_url(self, changes: EndpointChanges) -> None:
        if not isinstance(changes.url, str) or self._running is None:
            return
        try:
            self._running.guard.check_url(changes.url)
        except (ForbiddenAddress, InvalidURL) as exc:
            raise InvalidBody(f"`url`: {exc}", code="invalid_url") from exc

    async def _resume(self, tenant: str, id: str) -> None:
        """Deliver to an endpoint immediately, even if it is paused because of failures."""
        running = self._running
        if running is not None and running.dispatcher is not None:
            number = await self.store.endpoint_number(tenant, id)
            if number is not None:
                self._resume_all((number,))

    def _resume_all(self, numbers: Iterable[int]) -> None:
        running = self._running
        if running is not None and running.dispatcher is not None:
            for number in numbers:
                running.dispatcher.resume(number)

    async def delete_endpoint(self, tenant: str, id: str) -> bool:
        store = self._open_store
        async with self._turns.of(tenant):
            return await store.delete_endpoint(tenant, id)

    async def get_secret(self, tenant: str, id: str) -> str | None:
        stored = await self._open_store.get_secret(tenant, id)
        return None if stored is None else self._box.open_secret(stored, tenant)

    async def rotate_secret(
        self, tenant: str, id: str, key: str | None, *, overlap: int = SECRET_OVERLAP
    ) -> str | None:
        key = key or generate_secret()
        # Sealed twice, a secret looks different each time.
        if await self.get_secret(tenant, id) == key:
            raise same_secret()
        sealed = self._box.seal_secret(key, tenant)
        done = await self._open_store.rotate_secret(tenant, id, sealed, overlap=overlap)
        return None if done is None else key

    async def reencrypt(self) -> int:
        """See `Backend.reencrypt`."""
        return await reencrypt(self._open_store, self._box)

    async def endpoint_stats(self, tenant: str, id: str, since: datetime, until: datetime) -> EndpointStats | None:
        return await self._open_store.endpoint_stats(tenant, id, since, until)

    # Redelivery

    async def resend(self, tenant: str, event_id: str, endpoint_id: str) -> bool:
        done = await self._open_store.resend(tenant, event_id, endpoint_id)
        await self._resume(tenant, endpoint_id)
        return done

    async def recover(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime | None, *, missing: bool
    ) -> int | None:
        if endpoint_id in self._recovering:
            raise recovery_running(endpoint_id)
        self._recovering.add(endpoint_id)
        try:
            return await self._recover(tenant, endpoint_id, RecoverWindow(since, until, missing))
        finally:
            self._recovering.discard(endpoint_id)

    async def _recover(self, tenant: str, endpoint_id: str, window: RecoverWindow) -> int | None:
        cursor: RecoverCursor | None = None
        count = 0
        while True:
            began = time.monotonic()
            async with self._turns.of(tenant):
                recovered = await self._open_store.recover(tenant, endpoint_id, window, cursor)
            if recovered is None:
                return None
            count += recovered.count
            await self._resume(tenant, endpoint_id)
            cursor = recovered.cursor
            if cursor is None:
                return count
            # Others commit as much as this recovery does.
            await anyio.sleep(min(time.monotonic() - began, _RECOVERY_PAUSE))

    async def test_endpoint(self, tenant: str, endpoint_id: str, event: Event) -> Event | None:
        store = self._open_store
        endpoint = await store.get_endpoint(tenant, endpoint_id)
        if endpoint is None:
            return None
        if endpoint.disabled:
            raise endpoint_disabled(endpoint_id, endpoint.disabled_reason)
        stored = await store.insert_for(event, tenant, endpoint_id)
        await self._resume(tenant, endpoint_id)
        return stored

    # The backend itself

    async def sync(self, event_types: EventTypes) -> SyncResult:
        """See `Backend.sync`. There is nothing to register, because each process has its catalog."""
        _ = self._open_store
        return SyncResult(unchanged=tuple(sorted(event_type.name for event_type in event_types)))

    async def erase(self, tenant: str) -> None:
        await self._open_store.erase(tenant)

    @property
    def meta(self) -> Meta:
        """See `Backend.meta`."""
        return self._open_store

    async def secret_keys(self) -> Sequence[bytes]:
        """See `Backend.secret_keys`. If the settings have none, one is generated once and stored."""
        return self.settings.secret_keys or (await session_key(self._open_store, self._box),)

    async def log_name(self) -> str:
        """See `Backend.log_name`."""
        return (await self._open_store.read_meta("log_name", os.urandom(12).hex().encode())).decode()

    async def refresh_figures(self) -> None:
        """See `Backend.refresh_figures`."""
        if self._running is not None:
            await self._running.statistics.refresh()

    def health(self, *, figures: bool = True) -> Health:
        """See `Backend.health`."""
        running = self._running
        database = self.store.health()
        status: Status = "ok" if database.get("problem") is None else "degraded"
        health: Health = {
            "status": "stopped" if running is None else status,
            "backend": self.name,
            "database": database,
        }
        if running is None:
            return health
        found = running.statistics.ask() if figures else None
        dispatcher = running.dispatcher
        health["dispatchers"] = dispatchers_health(dispatcher)
        outbox = self._host_outbox_health()
        if outbox is not None:
            health["hostOutbox"] = outbox
        if health["dispatchers"]["problem"] is not None or (outbox is not None and outbox["problem"] is not None):
            health["status"] = "degraded"
        if found is not None:
            add_figures(health, *found)
        return health

    def _host_outbox_health(self) -> HostOutboxHealth | None:
        """Return the state of the outbox in the backend's own database, if it has one."""
        return None
