"""The dispatcher: leases deliveries that are due, makes an attempt at each, and records what became of it.

At least once: an attempt is recorded after the receiver has answered, so a crash between the two repeats it, with the
same `webhook-id`. Processes that share a store share the work by leases.

Two kinds of time meet here. What is stored, such as when a delivery is due, goes by the store's clock, in milliseconds
since the epoch. What concerns this process alone, such as pauses and timers, goes by a clock that only moves forward,
in seconds: the system's clock may be set back or ahead at any time.
"""

from __future__ import annotations

import heapq
import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import anyio
from anyio import CancelScope, create_task_group, current_time, move_on_after, sleep
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled

from starlette_webhooks.delivery.client import DeliveryClient
from starlette_webhooks.delivery.deliveries import DisabledEndpoint, LeasedDelivery, Outcome
from starlette_webhooks.delivery.limits import SLOW_MS, Limits
from starlette_webhooks.delivery.ready import Ready
from starlette_webhooks.delivery.sender import Sender
from starlette_webhooks.delivery.slots import Lane, SlotRequest
from starlette_webhooks.delivery.store import DeliveryStore
from starlette_webhooks.exceptions import BackendUnavailable, QueueFull
from starlette_webhooks.problems import Problem

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings

__all__ = ["Dispatcher"]

logger = logging.getLogger("starlette_webhooks")

_SCAN_SHARE = 0.05
# A scan looks ahead by more than the time to the next one, so that what becomes due in between is made on time.
_HORIZON = 1.5
_LEASE_MARGIN = 10.0
_THROTTLED = frozenset((429, 502, 504))


class Dispatcher:
    """Delivers what is due, for as long as `run` runs.

    Args:
        random: A number from 0 to 1, for the jitter of retries.
        monotonic: Seconds of a clock that only moves forward; tests set it forward.
        scan_every: Seconds between two looks for due deliveries of all endpoints.
        grace: Seconds that attempts under way have to end when `run` is cancelled.
        pause: Seconds to wait after an error of the store.
    """

    def __init__(
        self,
        store: DeliveryStore,
        client: DeliveryClient,
        settings: WebhooksSettings,
        *,
        random: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
        scan_every: float = 1.0,
        grace: float = 1.5,
        pause: float = 1.0,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._lease_ms = int((settings.attempt_timeout + _LEASE_MARGIN) * 1000)
        self._disable_after_ms = int(settings.disable_after * 1000)
        self._sender = Sender(
            client,
            now=store.now,
            schedule=settings.retry_schedule,
            headers=settings.signature_headers,
            random=random,
        )
        self._limits = Limits(settings.concurrency, settings.endpoint_concurrency, random)
        self._ready = Ready(self._limits)
        self._grace = grace
        self._pause = pause
        self._problem = Problem("Deliveries go on.", level=logging.WARNING)
        self.busy = 0
        """Attempts under way, or not recorded yet."""
        # When to ask for an endpoint's deliveries. `_timed` has the earliest time of each; others are left to pass.
        self._timers: list[tuple[float, int]] = []
        self._timed: dict[int, float] = {}
        self._wakeup: anyio.Event | None = None
        self._scan_at = -math.inf
        self._scan_after = 0
        self._least_scan_every = self._scan_every = scan_every

    @property
    def in_flight(self) -> int:
        """Attempts under way now."""
        return self._limits.in_flight

    def wake(self, endpoints: Iterable[int] = ()) -> None:
        """New deliveries were committed. Called on the event loop.

        Args:
            endpoints: The numbers of their endpoints, which saves a look at all endpoints that have deliveries.
        """
        known = False
        for endpoint in endpoints:
            known = True
            self._wait_until(-math.inf, endpoint)
        if not known:
            self._scan_at = -math.inf
        self._go_on()

    def resume(self, endpoint: int) -> None:
        """Try an endpoint now although it fails, because somebody asked for it. Called on the event loop."""
        self._limits.resume(endpoint)
        self.wake((endpoint,))

    def _go_on(self) -> None:
        if self._wakeup is not None:
            self._wakeup.set()

    async def run(self) -> None:
        """Deliver until cancelled. Attempts under way then have `grace` seconds to end, or they are repeated later."""
        self._hosting, self._stopped = anyio.Event(), anyio.Event()
        self._scope = CancelScope(shield=True)
        async with create_task_group() as tasks:
            # Not `start`: if this is cancelled meanwhile, that would wait for a host that nobody tells to end.
            tasks.start_soon(self._host)
            try:
                await self._hosting.wait()
                await self._dispatch(self._attempts)
            finally:
                self._scope.deadline = current_time() + self._grace
                self._stopped.set()

    async def _host(self) -> None:
        with self._scope:
            async with create_task_group() as self._attempts:
                self._hosting.set()
                await self._stopped.wait()

    async def _dispatch(self, attempts: TaskGroup) -> None:
        while True:
            self._wakeup = anyio.Event()
            try:
                await self._scan()
                while requests := self._ready.take(self._monotonic()):
                    await self._claim(attempts, requests)
                    await checkpoint_if_cancelled()
                    await self._scan()
                self._problem.end()
            except (BackendUnavailable, QueueFull) as exc:
                self._problem.begin(f"Deliveries are waiting because the database cannot be used: {exc}")
                self._scan_at = -math.inf
                await sleep(self._pause)
            except Exception:
                logger.exception("Deliveries could not be taken from the queue; trying again.")
                self._scan_at = -math.inf
                await sleep(self._pause)
            with move_on_after(self._idle_seconds()):
                await self._wakeup.wait()

    def _idle_seconds(self) -> float:
        until = min(self._scan_at, self._ready.degraded_from())
        if self._timers:
            until = min(until, self._timers[0][0])
        return max(until - self._monotonic(), 0.0)

    async def _scan(self) -> None:
        """Look for endpoints with due deliveries: retries, and what other processes added.

        Once a second, or less often if there are so many endpoints that it would take more than 5 % of the time.
        """
        now = self._monotonic()
        while self._timers and self._timers[0][0] <= now:
            at, endpoint = heapq.heappop(self._timers)
            if self._timed.get(endpoint) == at:
                del self._timed[endpoint]
            self._wait_until(at, endpoint)
        if now < self._scan_at:
            return
        self._scan_at = now + self._scan_every
        due_by = self._store.now() + int(self._horizon * 1000)
        after: int | None = self._scan_after
        while after is not None and not self._ready.full:
            page = await self._store.due(after=after, due_by=due_by)
            for found in page.endpoints:
                if found.failing:
                    self._limits.known_to_fail(found.endpoint)
                self._wait_for(found.due, found.endpoint)
            after = page.after
        # With too many endpoints to hold, the next scan continues where this one ended.
        self._scan_after = after or 0
        self._scan_every = max(self._least_scan_every, (self._monotonic() - now) / _SCAN_SHARE)

    @property
    def _horizon(self) -> float:
        return self._scan_every * _HORIZON

    def _wait_for(self, due: float, endpoint: int) -> None:
        """Ask for an endpoint's deliveries at that time of the store's clock."""
        self._wait_until(self._monotonic() + (due - self._store.now()) / 1000, endpoint)

    def _wait_until(self, at: float, endpoint: int) -> None:
        """Ask for an endpoint's deliveries at that time of this process's clock, or when its pause is over."""
        now = self._monotonic()
        at = max(at, self._limits.paused_until(endpoint))
        if at <= now:
            self._ready.add(endpoint)
        elif at <= now + self._horizon and at < self._timed.get(endpoint, math.inf):
            self._timed[endpoint] = at
            heapq.heappush(self._timers, (at, endpoint))
        # A scan finds what is due later.

    async def _claim(self, attempts: TaskGroup, requests: Sequence[SlotRequest]) -> None:
        now = self._store.now()
        # If this were cancelled in between, deliveries would stay leased to nobody.
        with CancelScope(shield=True):
            claim = await self._store.claim(
                requests,
                self._limits.capacity(self._monotonic()),
                dict(self._limits.tenants),
                now=now,
                lease=now + self._lease_ms,
            )
        for endpoint in claim.failing:
            self._limits.known_to_fail(endpoint)
        started = self._monotonic()
        for delivery in claim.deliveries:
            lane = self._limits.started(delivery.endpoint, delivery.tenant, started)
            self.busy += 1
            attempts.start_soon(self._deliver, delivery, lane)
        paused = {endpoint for endpoint in claim.unserved if self._limits.paused_until(endpoint) > started}
        self._ready.put_back([endpoint for endpoint in claim.unserved if endpoint not in paused])
        for endpoint in (*claim.remaining, *paused):
            self._wait_until(-math.inf, endpoint)
        for due, endpoint in claim.waiting:
            self._wait_for(due, endpoint)

    async def _deliver(self, delivery: LeasedDelivery, lane: Lane) -> None:
        try:
            try:
                outcome = await self._sender.attempt(delivery)
                self._learn(outcome)
            finally:
                # Before it is recorded: what is claimed next is then committed together with the record.
                self._limits.finished(delivery.endpoint, delivery.tenant, lane)
                self._may_go_on(delivery.endpoint)
            disabled = await self._record(outcome)
            if disabled is not None:
                logger.warning("The endpoint %s was disabled: %s.", disabled.id, disabled.reason)
        except Exception:
            # One delivery must not end all others. If it was not recorded, its lease runs out and it is repeated.
            logger.exception("Something went wrong with a delivery to the endpoint %s.", delivery.endpoint_id)
        finally:
            self.busy -= 1

    def _learn(self, outcome: Outcome) -> None:
        self._limits.learn(
            outcome.delivery.endpoint,
            self._monotonic(),
            ok=outcome.ok,
            slow=outcome.duration_ms > SLOW_MS,
            throttled=outcome.status_code in _THROTTLED,
        )

    def _may_go_on(self, endpoint: int) -> None:
        if self._limits.paused_until(endpoint) <= self._monotonic():
            self._ready.finished(endpoint)
        elif self._ready.remove(endpoint):
            self._wait_until(-math.inf, endpoint)
        if self._ready or self._timers:
            self._go_on()

    async def _record(self, outcome: Outcome) -> DisabledEndpoint | None:
        while True:
            try:
                disabled = await self._store.record(outcome, disable_after=self._disable_after_ms)
            except (BackendUnavailable, QueueFull):
                # Once the lease is over, the delivery belongs to whoever claims it next.
                if self._store.now() >= outcome.delivery.lease:
                    raise
                await sleep(self._pause)
                continue
            if outcome.next_due is not None:
                self._wait_for(outcome.next_due, outcome.delivery.endpoint)
                self._go_on()
            return disabled
