"""The relay: forwards the events in an outbox, in order for each tenant, until the target has accepted them."""

from __future__ import annotations

import logging
import math

import anyio
from anyio import CapacityLimiter
from anyio.streams.memory import MemoryObjectReceiveStream

from starlette_webhooks.concurrency import task_group
from starlette_webhooks.exceptions import BackendError, BackendUnavailable
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.problems import Problem
from starlette_webhooks.relay.breaker import Breaker
from starlette_webhooks.relay.clock import TimeSource
from starlette_webhooks.relay.forward import Forward, ForwardingFailed, ForwardingRefused
from starlette_webhooks.relay.outbox import Lock, Outbox, OutboxEntry, Recording
from starlette_webhooks.relay.tenants import TenantQueue

__all__ = ["Relay"]

logger = logging.getLogger("starlette_webhooks")

_ENTRIES = 20
# No event should be missed in between. This limits how long an unknown fault can hide an event.
_RESCAN = 30.0
_PAUSE = 1.0


class Relay:
    """Relays while it holds the lock. Before that, another process relays.

    Args:
        target: The name of the target, for the log.
        concurrency: Events that are forwarded at a time.
        tenant_concurrency: Events of one tenant that are forwarded at a time. With more than 1, they lose their order.
        poll: Seconds between checks for events of other processes.

    Attributes:
        error: Why the last event could not be forwarded. None after a success.
    """

    def __init__(
        self,
        outbox: Outbox,
        forward: Forward,
        lock: Lock,
        time: TimeSource,
        *,
        target: str,
        concurrency: int,
        tenant_concurrency: int = 1,
        poll: float = 0.25,
    ) -> None:
        self._outbox = outbox
        self._forward = forward
        self._lock = lock
        self._time = time
        self._target = target
        self._problem = Problem(f"The relay to {target} continues.")
        self._concurrency = concurrency
        self._tenant_concurrency = tenant_concurrency
        self._poll = poll
        self._wake = anyio.Event()
        self._rescan = False
        self._breaker = Breaker(time)
        self._tenants: TenantQueue | None = None
        self.error: Exception | None = None

    @property
    def relaying(self) -> bool:
        """Whether this process relays."""
        return self._lock.held

    @property
    def stalled(self) -> bool:
        """Whether this process relays and the target is down."""
        return self._lock.held and self._breaker.open

    def fails(self, tenant: str) -> bool:
        """Return whether this process relays and could not forward the tenant's last event."""
        return self.stalled or (self._lock.held and self._tenants is not None and self._tenants.fails(tenant))

    def wake(self, *, rescan: bool = False) -> None:
        """Note that events may wait. `rescan` means that some of them were committed earlier."""
        self._rescan = self._rescan or rescan
        self._wake.set()

    async def run(self) -> None:
        """Relay until cancelled."""
        while True:
            try:
                await self._lock.acquire()
                await self._relay()
            except BackendUnavailable as exc:
                self._problem.begin(f"The relay to {self._target} pauses: {exc}")
            finally:
                # What this process could not forward is another one's by now.
                self.error = None
                await self._lock.release()
            await self._time.sleep(_PAUSE)

    async def _relay(self) -> None:
        self._breaker = Breaker(self._time)
        self._slots = CapacityLimiter(self._concurrency)
        give, take = anyio.create_memory_object_stream[str](math.inf)
        tenants = self._tenants = TenantQueue(give, self.wake)
        with give, take:
            async with task_group() as tasks:
                tasks.start_soon(self._keep_lock, tasks.cancel_scope)
                for _ in range(self._concurrency):
                    tasks.start_soon(self._work, take, tenants)
                await self._discover(tenants)

    async def _keep_lock(self, scope: anyio.CancelScope) -> None:
        await self._lock.keep()
        scope.cancel()

    async def _discover(self, tenants: TenantQueue) -> None:
        position: int | None = None
        scanned = -math.inf
        while True:
            now = self._time.monotonic()
            if self._rescan or now - scanned >= _RESCAN:
                self._rescan, scanned, position = False, now, None
            try:
                found, position = await self._outbox.tenants(position)
            except BackendUnavailable as exc:
                self._problem.begin(f"The outbox cannot be read. Trying again: {exc}")
                await self._time.sleep(_PAUSE)
                continue
            self._problem.end()
            for tenant in found:
                tenants.add(tenant)
            due = tenants.release(self._time.monotonic())
            # Commits of other processes do not wake this one, so it polls.
            pause = min(self._poll, due)
            await self._time.wait(self._wake, None if pause == math.inf else pause)
            self._wake = anyio.Event()

    async def _work(self, take: MemoryObjectReceiveStream[str], tenants: TenantQueue) -> None:
        while True:
            tenant = await take.receive()
            try:
                more = await self._serve(tenant, tenants)
            except Exception as exc:
                if not isinstance(exc, (ForwardingFailed, BackendError)):
                    logger.exception(
                        "An event of the tenant %r could not be forwarded to %s. Trying again.",
                        tenant,
                        self._target,
                        extra=log_fields("relay.error", tenant=tenant),
                    )
                self.error = exc
                retry_after = exc.retry_after if isinstance(exc, ForwardingFailed) else None
                tenants.delay(tenant, self._time.monotonic(), retry_after)
            else:
                tenants.done(tenant, more=more)

    async def _serve(self, tenant: str, tenants: TenantQueue) -> bool:
        """Forward the tenant's next events. Returns whether there may be more."""
        entries = await self._outbox.next(tenant, _ENTRIES * self._tenant_concurrency)
        waiting = iter(entries)
        recordings: list[Recording] = []
        failures: list[Exception] = []

        async def forward_next() -> None:
            for entry in waiting:
                try:
                    recordings.append(await self._forward_one(entry))
                except Exception as exc:
                    failures.append(exc)
                if failures:
                    return

        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(min(self._tenant_concurrency, len(entries))):
                    tasks.start_soon(forward_next)
        finally:
            # Accepted events are recorded before the tenant is read again. Otherwise they would be forwarded twice.
            with anyio.CancelScope(shield=True):
                for recording in recordings:
                    await recording.wait()
        if recordings:
            tenants.progressed(tenant)
        if failures:
            raise failures[0]
        return bool(entries)

    async def _forward_one(self, entry: OutboxEntry) -> Recording:
        await self._breaker.admit()
        try:
            async with self._slots:
                if not self._lock.held:
                    # This process was suspended, and another one has continued from here.
                    raise BackendUnavailable("Another process relays now.")
                accepted = await self._forward(entry.event)
        except ForwardingRefused as exc:
            self._breaker.succeeded()
            return await self._dead_letter(entry, exc)
        except ForwardingFailed as exc:
            if self.error is None:
                logger.warning(
                    "An event could not be forwarded to %s. It is kept and retried: %s",
                    self._target,
                    exc,
                    extra=log_fields("relay.retrying", tenant=entry.event.tenant, eventId=entry.event.event_id),
                )
            self._breaker.failed(entry.event.tenant, everywhere=exc.everywhere, retry_after=exc.retry_after)
            raise
        except BaseException:
            # Not the target's fault. A probe that ends without a result would block all others.
            self._breaker.succeeded()
            raise
        self._breaker.succeeded()
        self.error = None
        return await self._outbox.accept(entry, accepted.event, check_at=accepted.check_at)

    async def _dead_letter(self, entry: OutboxEntry, exc: ForwardingRefused) -> Recording:
        event = entry.event
        logger.error(
            "%s refused the event %s (%s) of the tenant %r permanently, so it was dead-lettered: %s %s",
            self._target,
            event.event_id,
            event.type,
            event.tenant,
            exc.code,
            exc.detail,
            extra=log_fields("event.dead_lettered", tenant=event.tenant, eventId=event.event_id, code=exc.code),
        )
        return await self._outbox.dead_letter(entry, exc.code, exc.detail)
