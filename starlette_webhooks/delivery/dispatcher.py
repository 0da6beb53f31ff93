"""The dispatcher: leases due deliveries, makes an attempt at each, and records the result.

Delivers at least once: an attempt is recorded after the receiver has answered, so a crash between the two repeats it
with the same `webhook-id`. Processes that share a store share the work by leases.

There are two kinds of time here. Stored times, such as when a delivery is due, use the store's clock, in milliseconds
since the epoch. Times of this process only, such as pauses and timers, use a monotonic clock, in seconds, because the
system's clock may be set back or ahead at any time.
"""

from __future__ import annotations

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

from starlette_webhooks.delivery.agenda import Agenda
from starlette_webhooks.delivery.claims import ClaimRequest
from starlette_webhooks.delivery.client import DeliveryClient, OutOfResources
from starlette_webhooks.delivery.clock_jumps import fix_times, log_jump
from starlette_webhooks.delivery.clockwatch import ClockWatch
from starlette_webhooks.delivery.deliveries import LeasedDelivery, Outcome
from starlette_webhooks.delivery.limits import SLOW_MS, Limits
from starlette_webhooks.delivery.pacing import UNPROVEN, Pace
from starlette_webhooks.delivery.recorder import Recorder
from starlette_webhooks.delivery.sender import Sender
from starlette_webhooks.delivery.slots import Lane, SlotRequest
from starlette_webhooks.delivery.store import DeliveryStore
from starlette_webhooks.delivery.urgent import Urgent
from starlette_webhooks.encryption import NOT_ENCRYPTED, CannotDecrypt, SecretBox
from starlette_webhooks.exceptions import BackendUnavailable, QueueFull
from starlette_webhooks.log_fields import log_fields
from starlette_webhooks.problems import Problem
from starlette_webhooks.token_buckets import TokenBuckets

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings
    from starlette_webhooks.telemetry import Telemetry

__all__ = ["Dispatcher"]

logger = logging.getLogger("starlette_webhooks")

_DAY = 86_400
_LEASE_MARGIN = 10.0
_THROTTLED = frozenset((429, 502, 504))
_RELEASE_SECONDS = 2.0
_UNREADABLE_PAUSE = 60.0


class Dispatcher:
    """Delivers what is due while `run` is running.

    Args:
        random: A number from 0 to 1, for the jitter of retries.
        monotonic: Seconds of a monotonic clock. Tests advance it.
        scan_every: Seconds between two scans for due deliveries of all endpoints.
        pause: Seconds to wait after an error of the store, or if resources for an attempt are missing.
        box: Opens what is encrypted in the store.
        telemetry: Spans and metrics, or None.
        unproven: The pace of endpoints whose servers have never accepted a delivery. None for no pace.
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
        pause: float = 1.0,
        box: SecretBox = NOT_ENCRYPTED,
        telemetry: Telemetry | None = None,
        unproven: Pace | None = UNPROVEN,
    ) -> None:
        self._store = store
        self._unproven = unproven
        self._monotonic = monotonic
        self._lease_ms = int((settings.attempt_timeout + _LEASE_MARGIN) * 1000)
        self._disable_after_ms = int(settings.disable_after * 1000)
        self._grace = settings.shutdown_grace
        self._pause = pause
        self._sender = Sender(
            client,
            now=store.now,
            schedule=settings.retry_schedule,
            headers=settings.signature_headers,
            random=random,
            signing_keys=settings.signing_keys,
            box=box,
            telemetry=telemetry,
            sends_trace=settings.send_traceparent,
            responses=TokenBuckets(
                per_second=settings.response_bytes_per_day / _DAY,
                capacity=settings.response_bytes_per_day,
                clock=monotonic,
            ),
        )
        self._recorder = Recorder(store, pause=pause, settled=self._go_on)
        self._limits = Limits(settings.concurrency, settings.endpoint_concurrency, random, clock=monotonic)
        self._agenda = Agenda(store, self._limits, monotonic=monotonic, scan_every=scan_every, unproven=unproven)
        self._urgent = Urgent(settings.concurrency)
        self._under_way: dict[int, LeasedDelivery] = {}
        self._problem = Problem("Deliveries continue.", level=logging.WARNING)
        self._scarcity = Problem("Attempts are being made again.")
        self.busy = 0
        """Attempts that are running or not recorded yet."""
        self._wakeup: anyio.Event | None = None
        self._clock = ClockWatch(store.now, monotonic)
        self._resting_until = -math.inf
        self._turn_due = monotonic()

    @property
    def late(self) -> float:
        """How many seconds it has stood still: its next turn was due then. From any thread."""
        return max(0.0, self._monotonic() - self._turn_due)

    @property
    def problem(self) -> str | None:
        """Why deliveries or their records wait, or None."""
        return self._problem.text or self._scarcity.text or self._recorder.problem

    @property
    def in_flight(self) -> int:
        """The number of running attempts."""
        return self._limits.in_flight + self._urgent.in_flight

    def wake(self, endpoints: Iterable[int] = ()) -> None:
        """See `DeliveryListener.wake`. If the endpoints are unknown, all endpoints with deliveries are scanned."""
        known = list(endpoints)
        if known:
            self._agenda.ask(known)
        else:
            self._agenda.scan_soon()
        self._go_on()

    def wake_urgent(self, endpoints: Iterable[int]) -> None:
        """See `DeliveryListener.wake_urgent`."""
        self._urgent.add(endpoints)
        self._go_on()

    def resume(self, endpoint: int) -> None:
        """Try a failing endpoint now, because somebody asked for it. Called on the event loop."""
        self._limits.resume(endpoint, self._monotonic())
        self.wake((endpoint,))

    def _go_on(self) -> None:
        if self._wakeup is not None:
            self._wakeup.set()

    async def run(self) -> None:
        """Deliver until cancelled.

        Running attempts then have `settings.shutdown_grace` seconds to end. The leases of the others are released, so
        that another process makes these attempts immediately.
        """
        self._hosting, self._stopped = anyio.Event(), anyio.Event()
        self._scope = CancelScope(shield=True)
        async with create_task_group() as tasks:
            # Not `start`: if this were cancelled meanwhile, `start` would wait for a host that nobody stops.
            tasks.start_soon(self._host)
            try:
                await self._hosting.wait()
                await self._dispatch(self._attempts)
            finally:
                self._scope.deadline = current_time() + self._grace
                self._stopped.set()

    async def _host(self) -> None:
        try:
            with self._scope:
                async with create_task_group() as self._attempts:
                    self._hosting.set()
                    await self._stopped.wait()
        finally:
            with move_on_after(_RELEASE_SECONDS, shield=True):
                await self._release_rest()

    async def _release_rest(self) -> None:
        rest = list(self._under_way.values())
        self._under_way.clear()
        if rest:
            try:
                await self._store.release(rest, due=self._store.now())
            except Exception as exc:
                fields = log_fields("deliveries.not_released")
                logger.warning("Aborted attempts are repeated only after their leases end: %s", exc, extra=fields)

    async def _dispatch(self, attempts: TaskGroup) -> None:
        self._agenda.scan_soon()
        await fix_times(self._store)
        while True:
            self._wakeup = anyio.Event()
            self._turn_due = self._monotonic()
            try:
                if self._may_claim:
                    await self._work(attempts)
                    self._problem.end()
            except (BackendUnavailable, QueueFull) as exc:
                self._problem.begin(f"Deliveries are waiting. {exc}")
                self._agenda.scan_soon()
                await sleep(self._pause)
            except Exception:
                logger.exception("Deliveries could not be claimed. Trying again.", extra=log_fields("claim.failed"))
                self._agenda.scan_soon()
                await sleep(self._pause)
            idle = self._idle_seconds()
            self._turn_due = self._monotonic() + idle
            with move_on_after(idle):
                await self._wakeup.wait()

    async def _work(self, attempts: TaskGroup) -> None:
        await self._look(attempts)
        while self._may_claim and (requests := self._agenda.take()):
            await self._claim(attempts, requests)
            # A backlog may keep it here for long.
            self._turn_due = self._monotonic()
            await checkpoint_if_cancelled()
            await self._look(attempts)

    async def _look(self, attempts: TaskGroup) -> None:
        pause = self._resting_until - self._monotonic()
        if pause > 0:
            await sleep(pause)
        self._agenda.pass_time()
        if self._agenda.scan_is_due:
            await self._check_clock()
            self._urgent.add(await self._agenda.scan())
        if self._may_claim:
            # A person is waiting for these, so they come first.
            await self._claim_urgent(attempts)

    @property
    def _may_claim(self) -> bool:
        # While records wait for the store, more attempts would only add to them. Checked after each wait: a delivery
        # whose lease ends before its record would be attempted again.
        return not self._recorder.waiting

    def _idle_seconds(self) -> float:
        if self._recorder.waiting:
            return math.inf
        return 0.0 if self._urgent else max(self._agenda.next_at - self._monotonic(), 0.0)

    # The clock

    async def _check_clock(self) -> None:
        moved = self._clock.look()
        if moved:
            log_jump(moved)
        if moved < 0:
            await fix_times(self._store)

    # Claiming

    async def _claim(self, attempts: TaskGroup, requests: Sequence[SlotRequest]) -> None:
        now = self._store.now()
        # If this were cancelled in between, deliveries would stay leased without an attempt.
        with CancelScope(shield=True):
            claim = await self._store.claim(
                ClaimRequest(
                    requests=requests,
                    capacity=self._limits.capacity(self._monotonic()),
                    tenants=dict(self._limits.tenants),
                    now=now,
                    lease=now + self._lease_ms,
                    unproven=self._unproven,
                )
            )
        for endpoint in claim.failing:
            self._limits.known_to_fail(endpoint)
        started = self._monotonic()
        for delivery in claim.deliveries:
            self._start(attempts, delivery, self._limits.started(delivery.endpoint, delivery.tenant, started))
        self._agenda.put_back(claim.unserved)
        self._agenda.ask(claim.remaining)
        for due, endpoint in claim.waiting:
            self._agenda.ask_for(due, endpoint)

    async def _claim_urgent(self, attempts: TaskGroup) -> None:
        requests = self._urgent.take()
        if not requests:
            return
        now = self._store.now()
        with CancelScope(shield=True):
            claim = await self._store.claim(
                ClaimRequest(
                    requests=requests,
                    capacity=self._urgent.capacity,
                    tenants=dict(self._urgent.tenants),
                    now=now,
                    lease=now + self._lease_ms,
                    urgent=True,
                )
            )
        for delivery in claim.deliveries:
            self._urgent.started(delivery.endpoint, delivery.tenant)
            self._start(attempts, delivery, None)
        self._urgent.block((*claim.remaining, *claim.unserved))

    # Attempts

    def _start(self, attempts: TaskGroup, delivery: LeasedDelivery, lane: Lane | None) -> None:
        self.busy += 1
        self._under_way[delivery.id] = delivery
        attempts.start_soon(self._deliver, delivery, lane)

    async def _deliver(self, delivery: LeasedDelivery, lane: Lane | None) -> None:
        """Make an attempt and record it. `lane` is None for an urgent one."""
        try:
            try:
                outcome = await self._sender.attempt(delivery)
                self._scarcity.end()
                self._learn(outcome)
                del self._under_way[delivery.id]
            finally:
                # Before recording: the next claim is then committed together with the record.
                self._finished(delivery, lane)
            await self._record(outcome)
        except OutOfResources as exc:
            await self._put_off(delivery, exc)
        except CannotDecrypt as exc:
            logger.error(
                "Nothing can be delivered to the endpoint %s. %s",
                delivery.endpoint_id,
                exc,
                extra=delivery.log_fields("delivery.unreadable"),
            )
            await self._release(delivery, _UNREADABLE_PAUSE)
        except Exception:
            # One delivery must not end all others. If it was not recorded, it is repeated after its lease ends.
            logger.exception(
                "A delivery to the endpoint %s failed unexpectedly.",
                delivery.endpoint_id,
                extra=delivery.log_fields("delivery.error"),
            )
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

    def _finished(self, delivery: LeasedDelivery, lane: Lane | None) -> None:
        endpoint = delivery.endpoint
        if lane is None:
            self._urgent.finished(endpoint, delivery.tenant)
            # A success has ended the endpoint's pause.
            self._agenda.ask((endpoint,))
        else:
            self._limits.finished(endpoint, delivery.tenant, lane)
            self._agenda.finished(endpoint)
        if self._agenda or self._urgent:
            self._go_on()

    async def _record(self, outcome: Outcome) -> None:
        # Right after the clock was set, "failing for days" may be a few seconds.
        disable_after = self._disable_after_ms if self._clock.settled else 0
        disabled = await self._recorder.record(outcome, disable_after=disable_after)
        if disabled is not None:
            fields = outcome.delivery.log_fields("endpoint.disabled", reason=disabled.reason)
            logger.warning("The endpoint %s was disabled: %s.", disabled.id, disabled.reason, extra=fields)
        if outcome.next_due is not None:
            self._agenda.ask_for(outcome.next_due, outcome.delivery.endpoint)
            self._go_on()

    async def _put_off(self, delivery: LeasedDelivery, reason: OutOfResources) -> None:
        """Make the attempt again a little later, without counting it: the receiver was not involved."""
        self._scarcity.begin(f"Attempts are made later. {reason}")
        self._resting_until = self._monotonic() + self._pause
        await self._release(delivery, self._pause)

    async def _release(self, delivery: LeasedDelivery, seconds: float) -> None:
        self._under_way.pop(delivery.id, None)
        due = self._store.now() + int(seconds * 1000)
        await self._recorder.release(delivery, due=due)
        self._agenda.ask_for(due, delivery.endpoint)
