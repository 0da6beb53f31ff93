"""The relay: hands over what waits in the outbox, in order for each tenant, until Svix has it."""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from starlette_webhooks.backends.svix.errors import SvixRefused, SvixUnavailable
from starlette_webhooks.exceptions import BackendError, BackendUnavailable
from starlette_webhooks.relay.backoff import backoff
from starlette_webhooks.relay.breaker import Breaker

if TYPE_CHECKING:
    from starlette_webhooks.backends.svix.forwarding import Handover
    from starlette_webhooks.relay.backoff import Pace
    from starlette_webhooks.relay.lock import RelayLock
    from starlette_webhooks.stores.sqlite.database import Write
    from starlette_webhooks.stores.sqlite.outbox import Outbox, Row

__all__ = ["Relay"]

logger = logging.getLogger("starlette_webhooks")

_ROWS = 20
_RESCAN = 30.0


class Relay:
    """Relays while it holds the lock; until then another process does.

    Args:
        concurrency: Tenants that are served at a time.
        poll: Seconds between looks for what other processes took.

    Attributes:
        error: Why the last event could not be handed over, None after one that could.
    """

    def __init__(
        self, outbox: Outbox, handover: Handover, lock: RelayLock, pace: Pace, *, concurrency: int, poll: float = 0.25
    ) -> None:
        self._outbox = outbox
        self._handover = handover
        self._lock = lock
        self._pace = pace
        self._concurrency = concurrency
        self._poll = poll
        self._wake = anyio.Event()
        self._rescan = False
        self._breaker = Breaker(pace)
        self._failures: dict[str, int] = {}
        self.error: Exception | None = None

    @property
    def relaying(self) -> bool:
        """Whether it is this process that relays."""
        return self._lock.held

    @property
    def stuck(self) -> bool:
        """Whether this process relays, and Svix is down."""
        return self._lock.held and self._breaker.open

    def fails(self, tenant: str) -> bool:
        """Whether this process relays, and could not hand over the tenant's last event."""
        return self._lock.held and (self._breaker.open or tenant in self._failures)

    def kick(self, *, rescan: bool = False) -> None:
        """Events may wait; with `rescan` also such as were seen before."""
        self._rescan = self._rescan or rescan
        self._wake.set()

    async def run(self) -> None:
        """Relay for ever."""
        while True:
            try:
                await self._lock.acquire()
                await self._relay()
            except BackendUnavailable as exc:
                logger.error("The relay to Svix pauses: %s", exc)
            finally:
                self._lock.release()
            await self._pace.sleep(1.0)

    async def _relay(self) -> None:
        self._breaker = Breaker(self._pace)
        give, take = anyio.create_memory_object_stream[str](math.inf)
        self._failures = {}
        lanes = _Lanes(give, self.kick, self._failures)
        with give, take:
            async with anyio.create_task_group() as tasks:
                for _ in range(self._concurrency):
                    tasks.start_soon(self._work, take, lanes)
                await self._discover(lanes)

    async def _discover(self, lanes: _Lanes) -> None:
        position: int | None = None
        scanned = -math.inf
        while True:
            now = self._pace.clock()
            if self._rescan or not 0 <= now - scanned < _RESCAN:
                self._rescan, scanned, position = False, now, None
            try:
                tenants, position = await self._outbox.tenants(position)
            except BackendUnavailable as exc:
                logger.error("The outbox cannot be read; trying again: %s", exc)
                await self._pace.sleep(1.0)
                continue
            for tenant in tenants:
                lanes.add(tenant)
            due = lanes.release(self._pace.clock())
            # The poll finds what other processes committed.
            pause = min(self._poll, due)
            await self._pace.wait(self._wake, None if pause == math.inf else pause)
            self._wake = anyio.Event()

    async def _work(self, take: MemoryObjectReceiveStream[str], lanes: _Lanes) -> None:
        while True:
            tenant = await take.receive()
            try:
                more = await self._serve(tenant)
            except Exception as exc:
                if not isinstance(exc, BackendError):
                    logger.exception("An event of tenant %r could not be handed over to Svix; trying again.", tenant)
                self.error = exc
                retry_after = exc.retry_after if isinstance(exc, SvixUnavailable) else None
                lanes.delay(tenant, self._pace.clock(), retry_after)
            else:
                lanes.done(tenant, more=more)

    async def _serve(self, tenant: str) -> bool:
        """Hand over the tenant's next events. Returns whether there may be more."""
        rows = await self._outbox.next(tenant, _ROWS)
        marks: list[Write[None]] = []
        try:
            for row in rows:
                marks += (await self._hand_over(row),)
        finally:
            # What Svix has is marked before the tenant is read again.
            with anyio.CancelScope(shield=True):
                for mark in marks:
                    await mark.wait()
        return bool(rows)

    async def _hand_over(self, row: Row) -> Write[None]:
        await self._breaker.admit()
        tenant = row.event.tenant
        try:
            accepted = await self._handover(row.event, patient=False)
        except SvixRefused as exc:
            if not exc.hopeless:
                self._failed(row, exc, everywhere=False)
                raise
            self._breaker.succeeded()
            logger.error(
                "Svix refused the event %s (%s) of tenant %r for good, so it is parked: %s %s",
                row.event.event_id,
                row.event.type,
                tenant,
                exc.code,
                exc.detail,
            )
            return await self._outbox.park(row, exc.code, exc.detail)
        except SvixUnavailable as exc:
            self._failed(row, exc, everywhere=exc.everywhere, retry_after=exc.retry_after)
            raise
        except BaseException:
            self._breaker.succeeded()
            raise
        self._breaker.succeeded()
        self.error = None
        return await self._outbox.accept(row, accepted.event, check_at=accepted.check_at)

    def _failed(self, row: Row, exc: Exception, *, everywhere: bool, retry_after: float | None = None) -> None:
        if self.error is None:
            logger.warning("An event could not be handed over to Svix; it is kept and tried again: %s", exc)
        self._breaker.failed(row.event.tenant, everywhere=everywhere, retry_after=retry_after)


class _Lanes:
    """Tenants with events to hand over: ready, served by a worker, or held back after a failure."""

    def __init__(self, ready: MemoryObjectSendStream[str], kick: Callable[[], None], failures: dict[str, int]) -> None:
        self._ready = ready
        self._kick = kick
        self._held: list[tuple[float, str]] = []
        self._busy: dict[str, bool] = {}
        self._failures = failures

    def add(self, tenant: str) -> None:
        """The tenant has events. A tenant that is busy is looked at again, one held back stays so."""
        if tenant in self._busy:
            self._busy[tenant] = True
            return
        self._busy[tenant] = False
        self._ready.send_nowait(tenant)

    def done(self, tenant: str, *, more: bool) -> None:
        """A worker is through with it."""
        self._failures.pop(tenant, None)
        again = self._busy.pop(tenant)
        if more or again:
            self.add(tenant)

    def delay(self, tenant: str, now: float, retry_after: float | None) -> None:
        """A worker failed with it."""
        failures = self._failures[tenant] = self._failures.get(tenant, 0) + 1
        heapq.heappush(self._held, (now + backoff(failures, retry_after=retry_after), tenant))
        self._kick()

    def release(self, now: float) -> float:
        """Hand out who was held back long enough. Returns in how many seconds the next one is due."""
        while self._held and self._held[0][0] <= now:
            _, tenant = heapq.heappop(self._held)
            self._ready.send_nowait(tenant)
        return self._held[0][0] - now if self._held else math.inf
