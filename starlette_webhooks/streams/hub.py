"""The hub of all streams of a process."""

from __future__ import annotations

import math
import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from starlette_webhooks.budget import Budget, within_share
from starlette_webhooks.concurrency import running_beside
from starlette_webhooks.exceptions import NotRunning, RequestError, TooManyRequests
from starlette_webhooks.feed import Entry, StreamFilter
from starlette_webhooks.health import StreamsHealth
from starlette_webhooks.streams.buffer import Buffer
from starlette_webhooks.streams.connection import Connection
from starlette_webhooks.streams.counts import Counts
from starlette_webhooks.streams.feeds import Feeds
from starlette_webhooks.streams.frames import response_start
from starlette_webhooks.streams.heartbeats import Heartbeats
from starlette_webhooks.streams.past import LogReader, LogSource
from starlette_webhooks.streams.servers import ServerWatch
from starlette_webhooks.streams.shared import Shared
from starlette_webhooks.streams.shutdown import SignalChain
from starlette_webhooks.streams.wakes import Wakes
from starlette_webhooks.waiting import Waiter, running_loop

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from starlette_webhooks.sessions import Session
    from starlette_webhooks.settings import WebhooksSettings

__all__ = ["StreamHub", "Timing", "Unavailable"]


class Unavailable(RequestError):
    """Raised while the server is stopping."""

    message = "The server is stopping. Try again after `Retry-After` seconds."
    status_code = 503
    default_code = "unavailable"

    def __init__(self, detail: str | None = None, *, code: str | None = None, retry_after: int = 5) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after)})


@dataclass(frozen=True, slots=True)
class Timing:
    """Times in seconds that are not settings.

    Attributes:
        flush: How long an ending stream may take to send published events.
        abort: When a stream that has not ended is aborted. All streams must end within two seconds.
        linger: How long a view without streams, and a replay, are kept for clients that reconnect.
        mark: How often an idle client gets a newer id to resume from.
    """

    flush: float = 1.0
    abort: float = 1.5
    linger: float = 30.0
    mark: float = 30.0


class StreamHub:
    """Serves the streams of a process: a `Listener` of the backend on one side, ASGI responses on the other.

    Args:
        backend: The backend whose events are streamed. The caller calls `backend.listen(hub)`.
        budget: The memory for replays. By default, the hub creates one.
        clock: Seconds of a monotonic clock.
        wakes: How many streams are woken per turn of the event loop.
    """

    def __init__(
        self,
        backend: LogSource,
        settings: WebhooksSettings,
        *,
        budget: Budget | None = None,
        clock: Callable[[], float] = time.monotonic,
        timing: Timing = Timing(),
        wakes: int = 200,
    ) -> None:
        self.budget = budget or Budget(settings.page_memory_bytes)
        self._backend = backend
        self._settings = settings
        self._clock = clock
        self._timing = timing
        self._wakes_at_once = wakes
        self._counts = Counts()
        self._running = False
        self._draining = False
        self._buffer = Buffer(settings.stream_buffer_bytes)
        self._feeds = Feeds(backend, self._buffer)
        self._connections: dict[Connection, None] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[StreamHub]:
        """Serve streams, within the backend's `lifespan`. On exit, all streams end within two seconds."""
        self._prepare()
        async with running_beside(self._tick, self._wakes.run):
            self._running, self._draining = True, False
            try:
                yield self
            finally:
                self.drain()
                with anyio.CancelScope(shield=True):
                    await self._end()
                self._running = False

    def _prepare(self) -> None:
        # Created for each run, because waiters and events belong to an event loop.
        settings = self._settings
        self._buffer = Buffer(settings.stream_buffer_bytes)
        self._feeds = Feeds(self._backend, self._buffer)
        self._connections = {}
        self._shared = Shared(
            self._buffer,
            self._counts,
            LogReader(self._backend, self.budget, event_bytes=settings.max_event_bytes),
            now=self._clock(),
            mark_interval=self._timing.mark,
        )
        self._heartbeats: Heartbeats[Connection] = Heartbeats(settings.heartbeat)
        loop = running_loop()
        self._new_waiter: Callable[[], Waiter] = loop.waiter
        self._ticker = self._new_waiter()
        self._wakes = Wakes(self._new_waiter(), self._wakes_at_once)
        self._emptied = anyio.Event()
        self._signals = SignalChain(self._notifier())
        self._servers = ServerWatch()

    def _notifier(self) -> Callable[[], None]:
        schedule = running_loop().call_soon_threadsafe

        def notify() -> None:
            # The loop may already be closed when a signal arrives.
            with suppress(RuntimeError):
                schedule(self.drain)

        return notify

    async def _end(self) -> None:
        for patience in (self._timing.abort, self._timing.abort / 2):
            self._emptied = anyio.Event()
            if not self._connections:
                break
            with anyio.move_on_after(patience):
                await self._emptied.wait()
            for connection in tuple(self._connections):
                connection.abort("drained")
        self._feeds.drop_all()
        self._signals.restore()
        self._servers.forget()

    # The backend's side

    @property
    def tenants(self) -> Collection[str]:
        """The tenants with open streams, or with streams that closed recently and may reconnect."""
        return self._feeds.tenants

    def publish(self, entries: Sequence[Entry]) -> None:
        """Publish new entries, in order of position."""
        woken = self._feeds.publish(entries)
        if woken:
            self._wakes.add(woken)

    def restart(self) -> None:
        """See `Listener.restart`. Each stream continues after the last event of its client, or sends a gap."""
        self._shared.log.restarts += 1
        self._feeds.restart()
        for connection in self._connections:
            connection.position.restart()
        self._wakes.add(connection.waiter for connection in self._connections)

    def forget(self, tenant: str) -> None:
        """Drop a tenant's events from memory, for example when they are erased. Its streams continue."""
        self._feeds.forget(tenant)

    def sessions(self) -> set[Session]:
        """Return the sessions that authorised open streams, and the keys that the host is asked about."""
        return {connection.session for connection in self._connections if connection.session is not None}

    def end_sessions(self, ended: Collection[Session]) -> None:
        """End the streams that these sessions authorised."""
        connections = [connection for connection in self._connections if connection.session in ended]
        for connection in connections:
            connection.end("revoked", self._shared.now)
        self._wakes.add(connection.waiter for connection in connections)

    # The streams' side

    def check_capacity(self, tenant: str) -> None:
        """Check that another stream can be opened.

        Raises:
            TooManyRequests: The tenant or the process has reached the limit of the settings.
            Unavailable: The server is stopping.
            NotRunning: Outside `running`.
        """
        try:
            self._check_capacity(tenant)
        except RequestError:
            self._counts.rejected += 1
            raise

    def _check_capacity(self, tenant: str) -> None:
        if not self._running:
            raise NotRunning
        if self._draining:
            raise Unavailable
        held = self._feeds.streams_of(tenant)
        if held >= self._settings.streams_per_tenant:
            what = "1 stream is open" if held == 1 else f"{held} streams are open"
            raise TooManyRequests(f"{what}, which is the limit. Close one first.", code="too_many_streams")
        free = self._settings.streams_per_process - len(self._connections)
        if not free or not within_share(held, 1, free):
            raise TooManyRequests(
                "Too many streams are open. Try again after `Retry-After` seconds.", code="too_many_streams"
            )

    def remembers(self, tenant: str, filter: StreamFilter, last_event_id: str) -> bool:
        """Return whether a stream can continue after this event without reading the log."""
        return self._feeds.remember(tenant, filter, last_event_id)

    async def serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        tenant: str,
        filter: StreamFilter,
        last_event_id: str | None = None,
        session: Session | None = None,
    ) -> None:
        """Send a stream as an ASGI response, until one side ends it.

        Args:
            last_event_id: The event after which to continue. None or an empty text starts with new events.
            session: The session that authorised the caller. The stream ends with it. None for a key that
                the host is not asked about.

        Raises:
            TooManyRequests, Unavailable, NotRunning: See `check_capacity`. Raised before anything is sent.
        """
        if scope["method"] == "HEAD":
            await send(response_start())
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        self.check_capacity(tenant)
        connection = self._open(tenant, filter, last_event_id or None, session)
        # While a stream is open, this frame keeps its variables in memory.
        del filter, last_event_id, session
        try:
            async with anyio.create_task_group() as tasks:
                # The stream wakes up much more often than this task, which runs below all of the host's middleware:
                # resuming it passes through every layer.
                connection.start(tasks, receive, send)
                # Servers report that a client has disconnected by `receive` only. `send` does not raise.
                try:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                except OSError:  # pragma: no cover  Depends on the server.
                    pass
                connection.abort("disconnected")
        finally:
            self._close(connection)

    def drain(self) -> None:
        """End all streams and refuse new ones. Clients reconnect after a random delay of 0.5 to 5 seconds."""
        self._draining = True
        self._shared.now = self._clock()
        for connection in self._connections:
            connection.end("drained", self._shared.now + self._timing.flush)
        self._wakes.add(connection.waiter for connection in self._connections)

    def metrics(self) -> StreamsHealth:
        """Return the gauges and counters of this process, as JSON-compatible values."""
        counts = self._counts
        return {
            "streams": len(self._connections),
            "tenants": self._feeds.open,
            "views": self._feeds.views,
            "bufferBytes": self._buffer.size + self._buffer.history_size,
            "pageBytes": self.budget.held,
            "draining": self._draining,
            "opened": counts.opened,
            "frames": counts.frames,
            "sends": counts.sends,
            "heartbeats": counts.heartbeats,
            "lagged": counts.lagged,
            "stalled": counts.stalled,
            "replays": counts.replays,
            "gaps": counts.gaps,
            "rejected": counts.rejected,
            "closed": dict(counts.closed),
        }

    # Opening and closing. Nothing here awaits, so no function can be cancelled halfway.

    def _open(
        self, tenant: str, filter: StreamFilter, last_event_id: str | None, session: Session | None
    ) -> Connection:
        shared = self._shared
        if not self._feeds.tenants:
            shared.now = self._clock()
            self._heartbeats.start(shared.now)
            self._ticker.wake()
        view = self._feeds.view(tenant, filter)
        connection = Connection(
            shared,
            view,
            self._new_waiter(),
            last_event_id,
            # Random, so that streams that were opened together do not all reconnect together.
            deadline=shared.now + self._settings.stream_max_age * random.uniform(0.8, 1.0),
            expires=math.inf if session is None else shared.now + session.expires - time.time(),
            session=session,
        )
        self._feeds.join(view)
        connection.slot = self._heartbeats.add(connection)
        if not self._connections:
            # Not before the first stream, because servers set their own handlers late.
            self._servers.look()
            if self._settings.handle_signals:
                self._signals.install()
        self._connections[connection] = None
        self._counts.opened += 1
        return connection

    def _close(self, connection: Connection) -> None:
        if connection not in self._connections:  # pragma: no cover  The backend must take until the next run.
            # The stream is from an earlier run, and was delayed by the backend.
            return
        view = connection.position.view
        del self._connections[connection]
        self._heartbeats.remove(connection, connection.slot)
        view.waiting.pop(connection.waiter, None)
        self._feeds.leave(view, self._shared.now)
        if not self._connections:
            self._signals.restore()
            self._emptied.set()
        self._counts.closed[connection.reason or "cancelled"] += 1

    # The clock

    async def _tick(self) -> None:
        while True:
            if not self._feeds.tenants:
                await self._ticker.wait()
            await anyio.sleep(self._heartbeats.delay(self._clock()))
            now = self._shared.now = self._clock()
            for connection, beat in self._heartbeats.advance(now):
                self._look_after(connection, beat, now)
            if self._servers.stopping and not self._draining:
                self.drain()
            self._feeds.expire(now - self._timing.linger)

    def _is_in_the_way(self, connection: Connection, seconds: float) -> bool:
        """Return whether others need the memory of a reader that has not read its page for so long."""
        budget = self.budget
        if seconds > self._settings.stream_send_timeout:
            return bool(budget.waiting)
        return seconds > budget.patience and budget.must_yield(connection.position.view.feed.tenant)

    def _look_after(self, connection: Connection, beat: bool, now: float) -> None:
        patience = self._settings.stream_send_timeout
        stalled = connection.busy and now - connection.busy > patience
        if stalled or (connection.loaded and self._is_in_the_way(connection, now - connection.loaded)):
            self._counts.stalled += 1
            connection.abort("stalled")
        elif connection.ending is not None:
            if connection.ending == "drained" and now > connection.end_by + self._timing.abort - self._timing.flush:
                connection.abort("drained")
        elif now >= connection.expires:
            connection.end("expired", now)
            connection.waiter.wake()
        elif now >= connection.deadline:
            connection.end("aged", now + self._timing.flush)
            connection.waiter.wake()
        elif beat:
            connection.beat = True
            connection.waiter.wake()
