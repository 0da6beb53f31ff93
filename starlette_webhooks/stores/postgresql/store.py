"""`PostgreSQLStore`, which stores everything in a schema of a PostgreSQL database that several machines share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

import anyio

from starlette_webhooks.attempts import Attempt, AttemptQuery
from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.delivery.claims import ClaimRequest
from starlette_webhooks.delivery.deliveries import Claim, DisabledEndpoint, DuePage, LeasedDelivery, Outcome
from starlette_webhooks.delivery.pacing import UNPROVEN, Pace
from starlette_webhooks.delivery.store import DeliveryListener
from starlette_webhooks.endpoints import EndpointStats
from starlette_webhooks.events import Event, EventQuery
from starlette_webhooks.exceptions import NotRunning
from starlette_webhooks.feed import Listener, StreamFilter
from starlette_webhooks.forks import call_in_children
from starlette_webhooks.health import DatabaseHealth
from starlette_webhooks.pagination import Page
from starlette_webhooks.stores.base import RecoverCursor, Recovered, RecoverWindow, Store
from starlette_webhooks.stores.moments import to_ms
from starlette_webhooks.stores.postgresql import attempts, deliveries, log, maintenance, redelivery
from starlette_webhooks.stores.postgresql.appending import Append, Appended, Appender, endpoints_of
from starlette_webhooks.stores.postgresql.conninfo import parse_url
from starlette_webhooks.stores.postgresql.database import Database
from starlette_webhooks.stores.postgresql.deliveries import release
from starlette_webhooks.stores.postgresql.endpoint_store import StoredEndpoints
from starlette_webhooks.stores.postgresql.floors import Floors
from starlette_webhooks.stores.postgresql.followed import FollowedLog
from starlette_webhooks.stores.postgresql.hints import Hints
from starlette_webhooks.stores.postgresql.meta import StoredValues
from starlette_webhooks.stores.postgresql.moving import Moved, OutboxMover, erase_outbox
from starlette_webhooks.stores.postgresql.operating import StoredOperations
from starlette_webhooks.stores.postgresql.polling import Polling
from starlette_webhooks.stores.postgresql.recording import Recorded, Recorder, Recording
from starlette_webhooks.stores.tail import LogReplay, Tail
from starlette_webhooks.stores.writer import Writer
from starlette_webhooks.stores.writes import Submitted, Write
from starlette_webhooks.types import Clock

__all__ = ["PostgreSQLStore"]

# Without hints: at most ten checks a second while streams are open, including those of the dispatcher.
_POLL = 0.14
_POLL_WITH_HINTS = 1.0
_SPACING_WITH_HINTS = 0.01


class PostgreSQLStore(StoredValues, StoredEndpoints, StoredOperations, Store):
    """A store in PostgreSQL. See `Store`.

    Args:
        url: The URL of the database for libpq.
        listen_url: A URL of the same database without a pooler, for `LISTEN`.
        delivers: Whether this process delivers.
        max_writes, max_bytes: How many events may wait for their commit, and their size.
        clock: Seconds since the epoch, for tests. By default, the clock of the server.
        poll: Seconds between two checks for commits of other processes, while streams are open and no hints arrive.
        poll_with_hints: The same while hints arrive.
        options: See `Database`.
    """

    def __init__(
        self,
        url: str,
        *,
        listen_url: str | None = None,
        delivers: bool = True,
        max_writes: int = 10_000,
        max_bytes: int = 67_108_864,
        clock: Clock | None = None,
        poll: float = _POLL,
        poll_with_hints: float = _POLL_WITH_HINTS,
        **options: Any,
    ) -> None:
        self.database = Database(parse_url(url), **options)
        self.clock: Clock = clock or self.database.clock
        self.operator: str | None = None
        self._poll = poll
        self._poll_with_hints = poll_with_hints
        self._floors = Floors()
        self._polling = Polling(
            self.database,
            delivers=delivers,
            least_pause=self._least_pause,
            hinted=lambda: self._hints.connected,
            on_handover=self._wake_dispatcher,
        )
        self._followed = FollowedLog(
            self.database,
            spacing=self._spacing,
            wake=self._wake_tail,
            saw=self._polling.saw,
            outbox=self._polling.horizon,
        )
        self._listener: Listener | None = None
        self._dispatcher: DeliveryListener | None = None
        self._tail: Tail | None = None
        self._watched = anyio.Event()
        listen = None if listen_url is None else parse_url(listen_url)
        self._hints = Hints(self.database, listen, self._hinted)
        self._appender = Appender(self.database, process=self._hints.process, delivers=delivers)
        self._recorder = Recorder(self.database)
        self._events = Writer(self._appender.commit, max_writes=max_writes, max_bytes=max_bytes)
        self._events.on_commit.append(self._committed)
        self._records = Writer(self._recorder.commit, max_writes=max_writes, max_bytes=max_bytes)
        self._records.on_commit.append(self._recorded)
        self._delivers = delivers

    # Lifespan

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """See `Store.lifespan`."""
        tail = Tail(self._followed, self._listener)
        tasks = (tail.run, self._watch, self._polling.run, self.database.supervise, *self._hints.tasks)
        async with self.database.lifespan(), self._writing(), running_beside(*tasks):
            self._tail = tail
            try:
                yield
            finally:
                self._tail = None

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        call_in_children(self)
        self._events.start()
        self._records.start()
        try:
            yield
        finally:
            # Shielded: submitted events must be committed, and callers must not wait forever.
            with anyio.CancelScope(shield=True):
                await self._records.stop(self._recorder.close)
                await self._events.stop(self._appender.close)

    def after_fork(self) -> None:
        """See `Inherited`. The connections are the parent's, and stay untouched."""
        self._events.after_fork()
        self._records.after_fork()

    async def _watch(self) -> None:
        """Check for commits of other processes while streams are open."""
        while True:
            tail = self._tail
            if tail is None or not tail.watching:
                self._watched = anyio.Event()
                await self._watched.wait()
                continue
            tail.wake()
            await anyio.sleep(self._poll_with_hints if self._hints.connected else self._poll)

    def _wake_tail(self) -> None:
        if self._tail is not None:
            self._tail.wake()

    def _wake_dispatcher(self, endpoints: Iterable[int] = ()) -> None:
        if self._dispatcher is not None:
            self._dispatcher.wake(endpoints)

    def _least_pause(self) -> float:
        # The tail also looks, about seven times a second.
        return 2.5 * self._poll if self._tail is not None and self._tail.watching else 0.0

    def _spacing(self) -> float:
        """Return the seconds between two reads of the tail, since other commits may be between any two of our own."""
        return min(self._poll, _SPACING_WITH_HINTS if self._hints.connected else _POLL)

    def _hinted(self, endpoints: Iterable[int] | None) -> None:
        self._wake_tail()
        if endpoints is None or endpoints:
            self._wake_dispatcher(() if endpoints is None else endpoints)

    def now(self) -> int:
        """See `DeliveryStore.now`."""
        return int(self.clock() * 1000)

    def on_deliveries(self, listener: DeliveryListener | None) -> None:
        """See `Store.on_deliveries`."""
        self._dispatcher = listener

    def call_soon(self, fn: Callable[[], None]) -> None:
        """See `Store.call_soon`."""
        self._events.call_soon(fn)

    @property
    def on_loop(self) -> bool:
        """See `Store.on_loop`."""
        return self._events.on_loop

    def health(self) -> DatabaseHealth:
        """See `Store.health`."""
        return self.database.health(hints=self._hints.connected)

    def _committed(self, writes: Sequence[Write[Any]]) -> None:
        appended: list[Appended] = [write.result for write in writes if write.error is None]
        tail = self._tail
        if tail is not None and tail.following:
            if all(one.log == self._followed.log for one in appended):
                tail.committed([entry for one in appended for entry in one.entries])
            else:
                # The log may lack published events, or contain others that were not published.
                tail.wake()
        due, urgent = endpoints_of(appended)
        if urgent and self._dispatcher is not None:
            self._dispatcher.wake_urgent(urgent)
        if due:
            self._wake_dispatcher(due)
        if any(one.heard for one in appended):
            self._hints.send(() if self._delivers else {**due, **urgent})

    def _recorded(self, writes: Sequence[Write[Any]]) -> None:
        if any(write.result is not None for write in writes):
            self._events_were_stored()

    def _events_were_stored(self) -> None:
        # Endpoints of the tenant or of the operator may subscribe to the events about it.
        self._wake_tail()
        self._wake_dispatcher()

    def outbox_mover(self, *, due_in: int, on_moved: Callable[[Collection[str]], None]) -> OutboxMover:
        """Return what moves events from the outbox of hosts into the log, while it runs.

        Args:
            due_in: Milliseconds until the first attempt.
            on_moved: Called with the ids of moved events.
        """

        def moved(batch: Moved) -> None:
            self._polling.moved()
            self._wake_tail()
            if batch.endpoints:
                self._wake_dispatcher(batch.endpoints)
            if batch.heard:
                self._hints.send(() if self._delivers else batch.endpoints)
            on_moved(batch.ids)

        mover = OutboxMover(
            self.database,
            self._polling.horizon,
            process=self._hints.process.text,
            delivers=self._delivers,
            due_in=due_in,
            on_moved=moved,
        )
        self._polling.on_outbox = partial(mover.wake, True)
        return mover

    # The log

    def submit(self, events: Sequence[Event], *, due_in: int = 0) -> Submitted:
        """See `EventLog.submit`."""
        size = sum([len(event.payload) for event in events])
        return self._events.submit(Submitted, Append(events, due_in), size, True)

    async def insert_for(self, event: Event, tenant: str, endpoint_id: str) -> Event:
        """See `EventLog.insert_for`."""
        append = Append([event], endpoint=endpoint_id)
        events = await self._events.submit(Submitted, append, len(event.payload), False).wait()
        return events[0]

    async def list_events(self, tenant: str, query: EventQuery) -> Page[Event]:
        """See `EventLog.list_events`."""
        return await log.list_events(self.database, tenant, query)

    async def get_event(self, tenant: str, event_id: str) -> Event | None:
        """See `EventLog.get_event`."""
        return await log.get_event(self.database, tenant, event_id)

    # The feed

    def listen(self, listener: Listener) -> None:
        """See `Feed.listen`."""
        self._listener = listener
        if self._tail is not None:
            self._tail.listen(listener)

    def watch(self, tenant: str) -> None:
        """See `Feed.watch`."""
        self._running_tail.watch(tenant)
        self._watched.set()
        self._hints.changed(watching=True)

    def unwatch(self, tenant: str) -> None:
        """See `Feed.unwatch`."""
        tail = self._running_tail
        tail.unwatch(tenant)
        self._hints.changed(watching=tail.watching)

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> LogReplay:
        """See `Feed.replay`."""
        return await self._running_tail.replay(tenant, filter, after)

    async def position(self, tenant: str) -> str:
        """See `Feed.position`."""
        start = await self._followed.start_replay(tenant, None)
        assert start.last_id is not None
        return start.last_id

    @property
    def _running_tail(self) -> Tail:
        if self._tail is None:
            raise NotRunning
        return self._tail

    async def _told(self) -> None:
        """See `StoredEndpoints._told`."""
        if self.operator is not None:
            self._events_were_stored()
            await self._polling.hand_over()

    # Attempts

    async def list_attempts(self, tenant: str, query: AttemptQuery) -> Page[Attempt]:
        """See `AttemptStore.list_attempts`."""
        return await attempts.list_attempts(self.database, tenant, query)

    async def endpoint_stats(
        self, tenant: str, endpoint_id: str, since: datetime, until: datetime
    ) -> EndpointStats | None:
        """See `AttemptStore.endpoint_stats`."""
        return await attempts.endpoint_stats(self.database, tenant, endpoint_id, since, until, now=self.now())

    # Deliveries

    async def due(self, *, after: int, due_by: int, unproven: Pace | None = UNPROVEN) -> DuePage:
        """See `DeliveryStore.due`."""
        shared = (self.database, self._floors, self._polling)
        return await deliveries.due(*shared, after=after, due_by=due_by, now=self.now(), unproven=unproven)

    async def claim(self, request: ClaimRequest) -> Claim:
        """See `DeliveryStore.claim`."""
        return await deliveries.claim(self.database, self._floors, request)

    async def release(self, deliveries: Sequence[LeasedDelivery], *, due: int) -> None:
        """See `DeliveryStore.release`."""
        await release(self.database, deliveries, due=due, now=self.now())

    async def set_aside(self, delivery: LeasedDelivery) -> None:
        """See `DeliveryStore.set_aside`."""
        await deliveries.set_aside(self.database, delivery)

    async def fix_times(self) -> int:
        """See `DeliveryStore.fix_times`."""
        moved = await deliveries.fix_times(self.database, self.now())
        self._floors.forget()
        return moved

    async def record(self, outcome: Outcome, *, disable_after: int) -> DisabledEndpoint | None:
        """See `DeliveryStore.record`."""
        recording = Recording(outcome, disable_after, self.operator)
        write: Write[Recorded | None] = self._records.submit(Write, recording, 0, False)
        recorded = await write.wait()
        return None if recorded is None else recorded.disabled

    async def resend(self, tenant: str, event_id: str, endpoint_id: str) -> bool:
        """See `Redelivery.resend`."""
        done = await redelivery.resend(self.database, tenant, event_id, endpoint_id, now=self.now())
        if done and self._dispatcher is not None:
            number = await self.endpoint_number(tenant, endpoint_id)
            if number is not None and self._dispatcher is not None:
                self._dispatcher.wake_urgent((number,))
        elif done:
            await self._polling.hand_over()
        return done

    async def recover(
        self, tenant: str, endpoint_id: str, window: RecoverWindow, cursor: RecoverCursor | None
    ) -> Recovered | None:
        """See `Redelivery.recover`."""
        recovered = await redelivery.recover(self.database, tenant, endpoint_id, window, cursor, now=self.now())
        if recovered is not None and recovered.count:
            await self._polling.hand_over()
        return recovered

    # Maintenance

    async def prune(self, before: datetime) -> None:
        """See `Maintenance.prune`."""
        await self.drop_expired_secrets(self.now())
        now = self.now()
        await maintenance.roll_up(self.database, now)
        await maintenance.prune(self.database, to_ms(before), now)

    async def erase(self, tenant: str) -> None:
        """See `Maintenance.erase`."""
        await erase_outbox(self.database, tenant)
        await maintenance.erase(self.database, tenant)
