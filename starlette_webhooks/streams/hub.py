"""The hub of all streams of a process."""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio.lowlevel import checkpoint

from starlette_webhooks.exceptions import NotRunning, RequestError, TooManyRequests
from starlette_webhooks.feed import Entry, Replay, StreamFilter
from starlette_webhooks.streams.buffer import Buffer, Channel, Frame, View
from starlette_webhooks.streams.connection import Connection, response_start
from starlette_webhooks.streams.counts import Counts
from starlette_webhooks.streams.shutdown import SignalChain
from starlette_webhooks.streams.wheel import Wheel
from starlette_webhooks.waiting import Waiter, running_loop

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from starlette_webhooks.settings import WebhooksSettings

__all__ = ["StreamHub", "Unavailable"]

# With more at a time, other tasks of the loop would wait too long between two of them.
_WAKES = 200
# Seconds that an ending stream has for what is published already, and when it is cut off at a shutdown.
_FLUSH = 1.0
_CUT = 1.5
# Seconds that a view without streams, and a replay, are kept for those who come back.
_LINGER = 30.0
_IDLE_VIEWS = 256
_READS = 16


class Unavailable(RequestError):
    """Raised for a stream that is opened while the server stops."""

    message = "The server is stopping. Try again after `Retry-After` seconds."
    status_code = 503
    default_code = "unavailable"

    def __init__(self, detail: str | None = None, *, code: str | None = None, retry_after: int = 5) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after)})


class Feed(Protocol):
    """What the hub needs of a `Backend`, which publishes to the hub after `backend.listen(hub)`."""

    def watch(self, tenant: str) -> None:
        """The tenant has its first open stream."""

    def unwatch(self, tenant: str) -> None:
        """The tenant's last stream is gone."""

    async def replay(self, tenant: str, filter: StreamFilter, after: str | int | None) -> Replay:
        """What a stream has missed."""


class StreamHub:
    """Serves the streams of a process: a `Listener` of the engine on one side, ASGI responses on the other.

    Args:
        backend: Whose events are streamed. `backend.listen(hub)` is for the caller to call.
        clock: Seconds that only grow.
    """

    def __init__(
        self, backend: Feed, settings: WebhooksSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.backend = backend
        self.settings = settings
        self.clock = clock
        self.counts = Counts()
        self._running = False
        self._draining = False
        self._reset()

    def _reset(self) -> None:
        self.now = self.clock()
        self.buffer = Buffer(self.settings.stream_buffer_bytes)
        self._channels: dict[str, Channel] = {}
        self._connections: dict[Connection, None] = {}
        self._idle: dict[View, float] = {}
        self._wheel = Wheel(self.settings.heartbeat)
        self._waking: deque[Connection] = deque()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[StreamHub]:
        """Serve streams, within the engine's `lifespan`. At the end all streams are ended, within two seconds."""
        self._reset()
        self.new_waiter: Callable[[], Waiter] = running_loop().waiter
        self.reads = anyio.Semaphore(_READS)
        self._emptied = anyio.Event()
        self._ticker, self._waker = self.new_waiter(), self.new_waiter()
        self._signals = SignalChain(self._notifier())
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tick, name="starlette_webhooks.streams: clock")
            tasks.start_soon(self._wake_in_turns, name="starlette_webhooks.streams: wake")
            self._running, self._draining = True, False
            try:
                yield self
            except Exception as exc:
                # Raised below, as a task group would wrap it.
                failure = exc
            finally:
                self.drain()
                with anyio.CancelScope(shield=True):
                    await self._end()
                self._running = False
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _notifier(self) -> Callable[[], None]:
        schedule = running_loop().call_soon_threadsafe

        def notify() -> None:
            # The loop may be closed by the time of a signal.
            with suppress(RuntimeError):
                schedule(self.drain)

        return notify

    async def _end(self) -> None:
        for patience in (_CUT, _CUT / 2):
            self._emptied = anyio.Event()
            if not self._connections:
                break
            with anyio.move_on_after(patience):
                await self._emptied.wait()
            for connection in tuple(self._connections):
                connection.cut("drained")
        for channel in tuple(self._channels.values()):
            for view in tuple(channel.views.values()):
                self._drop(view)
        self._signals.restore()

    # The engine's side

    @property
    def tenants(self) -> Collection[str]:
        """Tenants with open streams, or with streams that were open a moment ago and may come back."""
        return self._channels.keys()

    def publish(self, entries: Sequence[Entry]) -> None:
        """Take new entries, in order of position."""
        waking = self._waking
        at_rest = not waking
        for entry in entries:
            channel = self._channels.get(entry.event.tenant)
            if channel is None:
                continue
            if channel.floor is None:
                channel.floor = entry.position - 1
            channel.last = entry
            frame = None
            for view in channel.views.values():
                if view.filter.matches(entry.event):
                    frame = frame or Frame(entry)
                    self.buffer.append(view, frame)
                    if view.parked:
                        waking.extend(view.parked)
                        view.parked.clear()
        self._wake(at_rest)

    def forget(self, tenant: str) -> None:
        """Drop what memory holds of a tenant's events, as when they are erased. Its streams go on."""
        channel = self._channels.get(tenant)
        if channel is not None:
            for view in channel.views.values():
                self.buffer.clear(view)

    # The streams' side

    def check_capacity(self, tenant: str) -> None:
        """Raise where no further stream can be opened.

        Raises:
            TooManyRequests: The tenant or the process has as many as the settings allow.
            Unavailable: The server is stopping.
            NotRunning: Outside `running`.
        """
        try:
            self._check_capacity(tenant)
        except RequestError:
            self.counts.rejected += 1
            raise

    def _check_capacity(self, tenant: str) -> None:
        if not self._running:
            raise NotRunning
        if self._draining:
            raise Unavailable
        if len(self._connections) >= self.settings.streams_per_process:
            raise TooManyRequests(
                "Too many streams are open. Try again after `Retry-After` seconds.", code="too_many_streams"
            )
        channel = self._channels.get(tenant)
        if channel is not None and channel.streams >= self.settings.streams_per_tenant:
            raise TooManyRequests(
                f"{channel.streams} streams are open, which is the limit. Close one of them first.",
                code="too_many_streams",
            )

    async def serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        tenant: str,
        filter: StreamFilter,
        last_event_id: str | None = None,
        principal_expires: float | None = None,
    ) -> None:
        """Answer a request with a stream: the whole ASGI response, until one side ends it.

        Args:
            last_event_id: The event after which to go on. None, or nothing, to start with what is emitted from now on.
            principal_expires: When the caller's authorisation ends, in seconds since the epoch.

        Raises:
            TooManyRequests, Unavailable, NotRunning: As `check_capacity`, before anything is sent.
        """
        if scope["method"] == "HEAD":
            await send(response_start())
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        self.check_capacity(tenant)
        connection = self._open(tenant, filter, last_event_id or None, principal_expires)
        try:
            async with anyio.create_task_group() as tasks:
                # The stream wakes far more often than this task, which lies below all of the host's middleware: to
                # resume it goes through each.
                connection.start(tasks, receive, send)
                try:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                except OSError:
                    pass
                connection.cut("disconnected")
        finally:
            self._close(connection)

    def drain(self) -> None:
        """End all streams now and refuse new ones. Clients come back after a random delay of 0.5 to 5 seconds."""
        self._draining = True
        self.now = self.clock()
        for connection in self._connections:
            connection.end("drained", self.now + _FLUSH)
        at_rest = not self._waking
        self._waking.extend(self._connections)
        self._wake(at_rest)

    def metrics(self) -> dict[str, Any]:
        """Gauges and counters of this process, JSON-able."""
        counts = self.counts
        return {
            "streams": len(self._connections),
            "tenants": sum(channel.streams > 0 for channel in self._channels.values()),
            "views": sum(len(channel.views) for channel in self._channels.values()),
            "buffer_bytes": self.buffer.size + self.buffer.history_size,
            "draining": self._draining,
            **{name: getattr(counts, name) for name in Counts.__slots__ if name != "closed"},
            "closed": dict(counts.closed),
        }

    # Opening and closing. Nothing here awaits, so none of it can be cancelled half way.

    def _open(self, tenant: str, filter: StreamFilter, last_event_id: str | None, expires: float | None) -> Connection:
        if not self._channels:
            self.now = self.clock()
            self._wheel.start(self.now)
        channel = self._channels.get(tenant)
        if channel is None:
            channel = self._channels[tenant] = Channel(tenant)
            self.backend.watch(tenant)
            self._ticker.wake()
        view = channel.views.get(filter)
        if view is None:
            view = channel.views[filter] = View(channel, filter)
        deadline = self.now + self.settings.stream_max_age * random.uniform(0.8, 1.0)
        expires_at = math.inf if expires is None else self.now + expires - time.time()
        connection = Connection(self, view, last_event_id, deadline, expires_at)
        self._idle.pop(view, None)
        view.streams += 1
        channel.streams += 1
        connection.slot = self._wheel.add(connection)
        if not self._connections and self.settings.handle_signals:
            self._signals.install()
        self._connections[connection] = None
        self.counts.opened += 1
        return connection

    def _close(self, connection: Connection) -> None:
        if connection not in self._connections:
            # Of an earlier run, held up by the engine.
            return
        view = connection.view
        del self._connections[connection]
        self._wheel.remove(connection, connection.slot)
        view.parked.pop(connection, None)
        view.streams -= 1
        view.channel.streams -= 1
        if not view.streams:
            self._idle[view] = self.now
            if len(self._idle) > _IDLE_VIEWS:
                self._drop(next(iter(self._idle)))
        if not self._connections:
            self._signals.restore()
            self._emptied.set()
        self.counts.closed[connection.reason or "cancelled"] += 1

    def _drop(self, view: View) -> None:
        channel = view.channel
        self._idle.pop(view, None)
        self.buffer.clear(view)
        del channel.views[view.filter]
        if not channel.views:
            del self._channels[channel.tenant]
            self.backend.unwatch(channel.tenant)

    # Waking and the clock

    def _wake(self, at_rest: bool) -> None:
        if self._waking and at_rest:
            self._wake_some()
            if self._waking:
                self._waker.wake()

    def _wake_some(self) -> None:
        waking = self._waking
        for _ in range(min(_WAKES, len(waking))):
            waking.popleft().waiter.wake()

    async def _wake_in_turns(self) -> None:
        while True:
            if self._waking:
                await checkpoint()
                self._wake_some()
            else:
                await self._waker.wait()

    async def _tick(self) -> None:
        while True:
            if not self._channels:
                await self._ticker.wait()
            await anyio.sleep(self._wheel.delay(self.clock()))
            self.now = self.clock()
            for connection, beat in self._wheel.advance(self.now):
                self._visit(connection, beat)
            self._sweep()

    def _visit(self, connection: Connection, beat: bool) -> None:
        now = self.now
        if connection.busy and now - connection.busy > self.settings.stream_send_timeout:
            self.counts.stuck += 1
            connection.cut("stuck")
        elif connection.ending is not None:
            if connection.ending == "drained" and now > connection.end_by + _CUT - _FLUSH:
                connection.cut("drained")
        elif now >= connection.expires:
            connection.end("expired", now)
            connection.waiter.wake()
        elif now >= connection.deadline:
            connection.end("aged", now + _FLUSH)
            connection.waiter.wake()
        elif beat:
            connection.beat = True
            connection.waiter.wake()

    def _sweep(self) -> None:
        before = self.now - _LINGER
        self.buffer.expire(before)
        while self._idle:
            view, since = next(iter(self._idle.items()))
            if since >= before:
                return
            self._drop(view)
